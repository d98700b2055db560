import { dirname } from "node:path/posix";
import type { Guestfish } from "./guestfish.ts";

/** Where SELinux keeps a file's label (selinux(8)). */
const ATTRIBUTE = "security.selinux";
const LABEL = /^[\w.-]+(?::[\w.,-]+)+$/;
/** The label of this folder is that of the programs in it: what any service may run. */
const PROGRAMS = "/usr/bin";

/**
 * Labels what was made in a guest as SELinux of the guest would have: as its folder, or as a program. Without a label a file is out of
 * the reach of most services, and a relabelling of everything would cost the first boot minutes. `path` is new; what has labels of its
 * own stays as it is, and a file system without labels has nothing to be done.
 */
export async function labelNew(guestfish: Guestfish, path: string, isProgram = false): Promise<void> {
  const label = await labelOf(guestfish, isProgram ? PROGRAMS : dirname(path));
  if (label === undefined || (await labelOf(guestfish, path)) !== undefined) return;
  await guestfish.run("lsetxattr", ATTRIBUTE, label, String(label.length), path);
}

/** Makes the folder of a path with all that it lies in, labelled like the one that was there. */
export async function makeFolderOf(guestfish: Guestfish, path: string): Promise<void> {
  const missing: string[] = [];
  for (
    let at = dirname(path);
    at !== "/" && (await guestfish.tryRun("exists", at)) !== "true";
    at = dirname(at)
  )
    missing.unshift(at);
  if (missing.length === 0) return;
  await guestfish.run("mkdir-p", dirname(path));
  for (const path of missing) await labelNew(guestfish, path);
}

async function labelOf(guestfish: Guestfish, path: string): Promise<string | undefined> {
  const label = (await guestfish.tryRun("lgetxattr", path, ATTRIBUTE))?.replace(/\0[\s\S]*$/, "");
  return label !== undefined && LABEL.test(label) ? label : undefined;
}

import type { Guestfish } from "../guestfish.ts";
import type { ChangedFile } from "../step.ts";

/** How a guest starts its services. */
export type InitSystem = "systemd" | "openrc" | "sysvinit";

export async function initSystemOf(guestfish: Guestfish): Promise<InitSystem> {
  for (const path of ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"])
    if ((await guestfish.tryRun("is-file", path, "followsymlinks:true")) === "true") return "systemd";
  if ((await guestfish.tryRun("is-file", "/sbin/openrc", "followsymlinks:true")) === "true") return "openrc";
  return "sysvinit";
}

/** Makes a symbolic link; a file or a link in its place is put aside. */
export async function link(guestfish: Guestfish, target: string, path: string): Promise<ChangedFile> {
  const original = `${path}.doppel-original`;
  const isThere =
    (await guestfish.tryRun("is-symlink", path)) === "true" ||
    (await guestfish.tryRun("exists", path)) === "true";
  if (isThere) await guestfish.run("mv", path, original);
  await guestfish.run("mkdir-p", path.slice(0, path.lastIndexOf("/")));
  await guestfish.run("ln-s", target, path);
  return { path, original: isThere ? original : null };
}

import { changeFile, putAside } from "../changes.ts";
import type { Guestfish } from "../guestfish.ts";
import { labelNew, makeFolderOf } from "../security-label.ts";
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
  const isThere =
    (await guestfish.tryRun("is-symlink", path)) === "true" ||
    (await guestfish.tryRun("exists", path)) === "true";
  const aside = isThere ? await putAside(guestfish, path) : undefined;
  await makeFolderOf(guestfish, path);
  await guestfish.run("ln-s", target, path);
  await labelNew(guestfish, path);
  return { path, original: aside?.original ?? null };
}

/** Writes a unit of systemd and has it start with the machine. `unit`: its name with `.service`. */
export async function enableUnit(
  guestfish: Guestfish,
  unit: string,
  content: string,
): Promise<ChangedFile[]> {
  const path = `/etc/systemd/system/${unit}`;
  return [
    await changeFile(guestfish, path, content),
    await link(guestfish, path, `/etc/systemd/system/multi-user.target.wants/${unit}`),
  ];
}

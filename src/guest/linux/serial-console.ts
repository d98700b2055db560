import { rewriteFile } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";
import { commandLineFiles } from "./device-names.ts";
import { initSystemOf } from "./service-links.ts";

const PARAMETERS = "console=tty0 console=ttyS0,115200";
const GETTY = "S0:2345:respawn:/sbin/getty -L 115200 ttyS0 vt100";
const OPENRC_GETTY = "ttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100";

/** Kernel command lines in the files of every boot loader: what precedes the parameters. */
const LINES =
  /^(\s*(?:linux(?:16|efi)?|kernel)\s+\S+.*|\s*append\s+.*|options\s+.*|GRUB_CMDLINE_LINUX=(["']).*(?=\2\s*$))/gim;

/** Adds the parameters to each kernel's command line that has no serial console. */
export function withConsole(text: string): string {
  return text.replace(LINES, (line) => {
    if (/\bconsole=ttyS0\b/.test(line)) return line;
    if (/memtest/i.test(line)) return line;
    const separator = /["']$/.test(line) ? "" : " ";
    return `${line.trimEnd()}${separator}${PARAMETERS}`;
  });
}

/** A serial console, for `--console`: kernel messages, and a login. */
export async function planSerialConsole({ guestfish, wishes }: GuestContext): Promise<Step[]> {
  if (!wishes.console) return [];
  const steps: Step[] = [];
  const plan = async (path: string, rewrite: (text: string) => string) => {
    const before = (await guestfish.read(path))?.toString("utf8");
    if (before === undefined || rewrite(before) === before) return;
    steps.push({
      name: "serial-console",
      what: `${path}: a console on ttyS0`,
      why: "it was asked for; what a machine says at boot can then be read outside of it",
      apply: () => rewriteFile(guestfish, path, rewrite),
    });
  };
  for (const path of await commandLineFiles(guestfish)) await plan(path, withConsole);
  // systemd starts a login on its own.
  const init = await initSystemOf(guestfish);
  if (init !== "systemd") {
    const line = init === "openrc" ? OPENRC_GETTY : GETTY;
    await plan("/etc/inittab", (text) =>
      /^[^#\n]*ttyS0/m.test(text) ? text : `${text.trimEnd()}\n${line}\n`,
    );
  }
  return steps;
}

import { changeFile } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";
import type { Generator } from "./initramfs-drivers.ts";

type Guestfish = GuestContext["guestfish"];

/** The generator's configuration, so that what it makes next has the drivers. */
export async function planGeneratorConfiguration(
  { guestfish, target }: GuestContext,
  generator: Generator,
  modules: readonly string[],
): Promise<Step[]> {
  const changes = await configurationOf(guestfish, generator, modules);
  return changes.map(({ path, content }) => ({
    name: "initramfs-configuration",
    what: `${path} names the drivers`,
    why: `the next initramfs that ${generator} makes must have them, too, on ${target.name}`,
    apply: async () => [await changeFile(guestfish, path, content)],
  }));
}

async function configurationOf(
  guestfish: Guestfish,
  generator: Generator,
  modules: readonly string[],
): Promise<{ path: string; content: string }[]> {
  const read = async (path: string) => (await guestfish.read(path))?.toString("utf8") ?? "";
  switch (generator) {
    case "initramfs-tools": {
      const path = "/etc/initramfs-tools/modules";
      const before = await read(path);
      const missing = modules.filter((name) => !new RegExp(`^\\s*${name}\\b`, "m").test(before));
      if (missing.length === 0) return [];
      return [{ path, content: `${withLineBreak(before)}${missing.join("\n")}\n` }];
    }
    case "dracut":
      return [
        { path: "/etc/dracut.conf.d/90-doppel.conf", content: `add_drivers+=" ${modules.join(" ")} "\n` },
      ];
    case "mkinitcpio": {
      const path = "/etc/mkinitcpio.conf";
      const line = `MODULES+=(${modules.join(" ")})`;
      const before = await read(path);
      return before.includes(line) ? [] : [{ path, content: `${withLineBreak(before)}${line}\n` }];
    }
    case "mkinitfs": {
      const path = "/etc/mkinitfs/mkinitfs.conf";
      const before = await read(path);
      const patterns = modules.map((name) => `kernel/**/${name.replaceAll("_", "[-_]")}.ko*`);
      const named = before.replace(
        /^(features=")([^"]*)"/m,
        (_line, start: string, features: string) =>
          `${start}${[...features.split(/\s+/).filter((each) => each !== "doppel"), "doppel"].join(" ")}"`,
      );
      return [
        { path: "/etc/mkinitfs/features.d/doppel.modules", content: `${patterns.join("\n")}\n` },
        ...(named === before ? [] : [{ path, content: named }]),
      ];
    }
    case "unknown":
      return [];
  }
}

/** What makes every initramfs anew; names are fixed, nothing of the guest becomes a part of it. */
const REBUILD: Record<Generator, string | undefined> = {
  "initramfs-tools": "update-initramfs -u -k all",
  dracut: "dracut --force --regenerate-all",
  mkinitcpio: "mkinitcpio -P",
  mkinitfs: 'for kernel in /lib/modules/*; do mkinitfs "$(basename "$kernel")"; done',
  unknown: undefined,
};

/** `--rebuild-initramfs`: the guest's own generator runs, in the appliance and nowhere else. */
export function planRebuild({ guestfish }: GuestContext, generator: Generator): Step[] {
  const script = REBUILD[generator];
  if (script === undefined) return [];
  return [
    {
      name: "initramfs-rebuild",
      what: `${script} runs in the appliance`,
      why: "--rebuild-initramfs asks for it",
      apply: async () => {
        await guestfish.run("sh", script);
        return [];
      },
    },
  ];
}

function withLineBreak(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

import { changeFile } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";

const ESP_MOUNTS = ["/boot/efi", "/efi", "/boot"];

interface Architecture {
  fallback: string;
  /** Loaders in the order in which they are taken when the boot order names none. */
  loaders: readonly string[];
}

const ARCHITECTURES: Record<string, Architecture> = {
  x86_64: {
    fallback: "BOOTX64.EFI",
    loaders: ["shimx64.efi", "grubx64.efi", "systemd-bootx64.efi", "refind_x64.efi", "elilo.efi"],
  },
  aarch64: { fallback: "BOOTAA64.EFI", loaders: ["shimaa64.efi", "grubaa64.efi", "systemd-bootaa64.efi"] },
  i386: { fallback: "BOOTIA32.EFI", loaders: ["shimia32.efi", "grubia32.efi", "systemd-bootia32.efi"] },
};

/**
 * The new firmware does not know the old one's boot entries: it starts what lies at the fallback path (UEFI specification,
 * 3.5.1.1). What is put there is what the old boot order started.
 */
export async function planFallbackLoader({ guestfish, facts, system }: GuestContext): Promise<Step[]> {
  if (facts.firmware.type !== "uefi") return [];
  const arch = ARCHITECTURES[system.arch];
  const esp = await findEsp(guestfish);
  if (!arch || esp === undefined) return [];
  const fallback = `${esp}/EFI/BOOT/${arch.fallback}`;
  if ((await guestfish.resolveCase(fallback)) !== undefined) return [];
  const ordered = (facts.firmware.bootOrder ?? []).flatMap(({ active, loader }) => {
    const path = active ? pathOf(loader) : undefined;
    return path === undefined ? [] : [`${esp}${path}`];
  });
  const usual: string[] = [];
  for (const name of arch.loaders) usual.push(...(await guestfish.expand([`${esp}/EFI/*/${name}`])));
  for (const candidate of [...ordered, ...usual]) {
    const loader = await guestfish.resolveCase(candidate);
    if (loader === undefined || (await guestfish.tryRun("is-file", loader)) !== "true") continue;
    const companions = await companionsOf(guestfish, loader);
    return [
      {
        name: "fallback-loader",
        what: `${fallback} from ${loader}${companions.length > 0 ? `, with ${companions.map(nameOf).join(", ")}` : ""}`,
        why: "new firmware has no boot entries and starts what lies there",
        adds: [{ path: esp, bytes: 4 * 1024 * 1024 }],
        apply: async () => {
          const changed = [];
          for (const [from, to] of [
            [loader, arch.fallback] as const,
            ...companions.map((path) => [path, nameOf(path)] as const),
          ]) {
            const content = await guestfish.read(from);
            if (content) changed.push(await changeFile(guestfish, `${esp}/EFI/BOOT/${to}`, content));
          }
          return changed;
        },
      },
    ];
  }
  return [];
}

/** A shim starts the GRUB beside it, which reads the configuration beside it. */
async function companionsOf(guestfish: GuestContext["guestfish"], loader: string): Promise<string[]> {
  const folder = loader.slice(0, loader.lastIndexOf("/"));
  const patterns = /shim[a-z0-9]*\.efi$/i.test(loader)
    ? [`${folder}/grub*.efi`, `${folder}/mm*.efi`, `${folder}/grub.cfg`]
    : [`${folder}/grub.cfg`];
  return await guestfish.expand(patterns);
}

async function findEsp(guestfish: GuestContext["guestfish"]): Promise<string | undefined> {
  for (const mount of ESP_MOUNTS) {
    const folder = await guestfish.resolveCase(`${mount}/EFI`);
    if (folder !== undefined && (await guestfish.tryRun("is-dir", folder)) === "true") return mount;
  }
  return undefined;
}

/** The path in a boot entry, `HD(1,GPT,…)/File(\EFI\debian\shimx64.efi)` or `\EFI\…`, as one of Linux. */
export function pathOf(loader: string | null | undefined): string | undefined {
  const path = /\\[^()]*\.efi/i.exec(loader ?? "")?.[0];
  if (path === undefined || path.includes("..")) return undefined;
  return path.replaceAll("\\", "/");
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

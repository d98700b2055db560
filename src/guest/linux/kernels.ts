import { gunzipSync } from "node:zlib";
import { DoppelError } from "../../errors.ts";
import { runProgramBytes } from "../../run-program.ts";
import { ORIGINAL } from "../changes.ts";
import type { Guestfish } from "../guestfish.ts";
import { Initramfs } from "./initramfs.ts";
import type { GuestKernel } from "./initramfs-drivers.ts";
import { type KernelModule, ModuleIndex } from "./module-index.ts";

/** A kernel that is installed in a guest, with the initramfs files that are made for it. */
export interface InstalledKernel extends GuestKernel {
  /** Paths of its initramfs files in the guest; none when no known name is there. */
  initramfsPaths: string[];
}

const VERSION = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}$/;
const MOST_MODULE_BYTES = 256 * 1024 * 1024;

/** Every kernel that has modules, whoever installed it. */
export async function findKernels(guestfish: Guestfish): Promise<InstalledKernel[]> {
  if ((await guestfish.tryRun("is-dir", "/lib/modules", "followsymlinks:true")) !== "true") return [];
  const candidates = await guestfish.expand(PLACES);
  const kernels: InstalledKernel[] = [];
  for (const version of await guestfish.lines("ls", "/lib/modules")) {
    if (!VERSION.test(version)) continue;
    const folder = `/lib/modules/${version}`;
    const dep = await guestfish.read(`${folder}/modules.dep`);
    if (!dep) continue;
    const builtIn = (await guestfish.read(`${folder}/modules.builtin`)) ?? Buffer.alloc(0);
    const base = (await guestfish.read(`${folder}/pkgbase`))?.toString("utf8").trim();
    const names = initramfsNames(version, base);
    kernels.push({
      version,
      index: new ModuleIndex(dep.toString("utf8"), builtIn.toString("utf8")),
      aliases: (await guestfish.read(`${folder}/modules.alias`))?.toString("utf8") ?? "",
      readModule: (module) => readModule(guestfish, folder, module),
      initramfsPaths: candidates.filter((path) => isOf(path, version, names)),
    });
  }
  await findByContent(guestfish, kernels, candidates);
  return kernels;
}

/** Distributions that nobody knows name initramfs files as they like: whose modules are in it is whose it is. */
async function findByContent(
  guestfish: Guestfish,
  kernels: readonly InstalledKernel[],
  candidates: readonly string[],
): Promise<void> {
  const without = kernels.filter(({ initramfsPaths }) => initramfsPaths.length === 0);
  if (without.length === 0) return;
  const claimed = new Set(kernels.flatMap(({ initramfsPaths }) => initramfsPaths));
  for (const path of candidates) {
    if (claimed.has(path) || path.endsWith(ORIGINAL)) continue;
    // A link leads to a file that is looked at by its own name.
    if ((await guestfish.tryRun("is-file", path)) !== "true") continue;
    const bytes = await guestfish.read(path);
    const initramfs = bytes && (await Initramfs.read(bytes).catch(unlessInvalid));
    for (const { version, initramfsPaths } of initramfs ? without : [])
      if (initramfs?.has(`lib/modules/${version}`)) initramfsPaths.push(path);
  }
}

function unlessInvalid(error: unknown): undefined {
  if (!(error instanceof DoppelError) || error.code !== "initramfs-invalid") throw error;
  return undefined;
}

/** Beside the kernels, and as kernel-install(8) lays them out: MACHINE-ID/VERSION/initrd. */
const PLACES = ["/boot/init*", "/boot/booster*", "/boot/*/*/init*", "/boot/efi/*/*/init*", "/efi/*/*/init*"];

function isOf(path: string, version: string, names: ReadonlySet<string>): boolean {
  const [name = "", folder = ""] = path.split("/").reverse();
  if (name.endsWith(ORIGINAL)) return false;
  return names.has(name) || (folder === version && /^init(?:rd|ramfs)(?:\.img)?$/.test(name));
}

/** What distributions call the initramfs of a kernel version. */
function initramfsNames(version: string, base: string | undefined): Set<string> {
  const names = [
    `initrd.img-${version}`,
    `initramfs-${version}.img`,
    `initrd-${version}`,
    `initramfs-${version}`,
  ];
  // Arch: by the package; Alpine: by the flavour, the version's last part.
  if (base !== undefined && VERSION.test(base))
    names.push(`initramfs-${base}.img`, `initramfs-${base}-fallback.img`, `booster-${base}.img`);
  const flavour = /-\d+-([a-z]+)$/.exec(version)?.[1];
  if (flavour) names.push(`initramfs-${flavour}`);
  return new Set(names);
}

async function readModule(guestfish: Guestfish, folder: string, { path }: KernelModule): Promise<Buffer> {
  const bytes = await guestfish.read(`${folder}/${path}`);
  if (!bytes) throw new DoppelError("guestfs-failed", `modules.dep names ${path}, which is not in ${folder}`);
  const options = { input: bytes, mostBytes: MOST_MODULE_BYTES };
  if (path.endsWith(".gz")) return gunzipSync(bytes, { maxOutputLength: MOST_MODULE_BYTES });
  if (path.endsWith(".xz")) return await runProgramBytes("xz", ["-dcq"], options);
  if (path.endsWith(".zst")) return await runProgramBytes("zstd", ["-dcq"], options);
  return bytes;
}

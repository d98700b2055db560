import { type CpioMember, FILE_MODE } from "./cpio.ts";
import type { Initramfs } from "./initramfs.ts";
import { encodeKmodIndex } from "./kmod-trie.ts";
import { dependencyLine, type KernelModule, ModuleIndex, moduleName } from "./module-index.ts";

/** Who made an initramfs: each has its own way to be told what to load. */
export type Generator = "initramfs-tools" | "dracut" | "mkinitcpio" | "mkinitfs" | "unknown";

/** What the guest has of one kernel version. */
export interface GuestKernel {
  version: string;
  index: ModuleIndex;
  /** The text of modules.alias. */
  aliases: string;
  /** A module's file, unpacked. */
  readModule(module: KernelModule): Promise<Buffer>;
}

export interface DriverPatch {
  /** What is appended to the initramfs. */
  members: CpioMember[];
  generator: Generator;
  /** Modules that were not in it, in the order of loading. */
  added: string[];
  /** Wanted modules that were in it already. */
  present: string[];
  /** Wanted ones that are a part of the kernel. */
  builtIn: string[];
}

/** The generator that made an initramfs, by what only it leaves there. */
export function generatorOf(initramfs: Initramfs): Generator {
  if (initramfs.has("conf/initramfs.conf")) return "initramfs-tools";
  if (initramfs.has("lib/dracut") || initramfs.has("usr/lib/dracut")) return "dracut";
  if (initramfs.has("init_functions") && initramfs.has("config")) return "mkinitcpio";
  if (initramfs.has("sbin/nlplug-findfs") || initramfs.has("usr/sbin/nlplug-findfs")) return "mkinitfs";
  return "unknown";
}

/**
 * What an initramfs needs so that `wanted` modules are there and are loaded: their files with all they depend on, indexes
 * that know the old and the new ones, and the generator's own list of what to load.
 */
export async function driverPatch(
  initramfs: Initramfs,
  kernel: GuestKernel,
  wanted: readonly string[],
): Promise<DriverPatch> {
  const generator = generatorOf(initramfs);
  const folder = `lib/modules/${kernel.version}`;
  const own = ownModules(initramfs, folder);
  const { modules, builtIn } = kernel.index.closure(wanted);
  const added = modules.filter(({ name }) => !own.has(name));
  const members: CpioMember[] = [];
  for (const module of added)
    members.push(file(`${folder}/${plainPath(module)}`, await kernel.readModule(module)));
  members.push(...indexes(initramfs, kernel, folder, own, added));
  const load = modules.map(({ name }) => name);
  members.push(...loadLists(initramfs, generator, load));
  return {
    members,
    generator,
    added: added.map(({ name }) => name),
    present: modules.filter(({ name }) => own.has(name)).map(({ name }) => name),
    builtIn,
  };
}

/** The modules that an initramfs has for a kernel: their names, and their paths below its folder. */
function ownModules(initramfs: Initramfs, folder: string): Map<string, string> {
  const base = initramfs.resolve(folder);
  const own = new Map<string, string>();
  for (const path of initramfs.paths(/\.ko(\.(gz|xz|zst))?$/))
    if (path.startsWith(`${base}/`)) own.set(moduleName(path), path.slice(base.length + 1));
  return own;
}

function indexes(
  initramfs: Initramfs,
  kernel: GuestKernel,
  folder: string,
  own: ReadonlyMap<string, string>,
  added: readonly KernelModule[],
): CpioMember[] {
  if (added.length === 0) return [];
  const before = new ModuleIndex(text(initramfs, `${folder}/modules.dep`), "");
  const all: KernelModule[] = [];
  for (const [name, path] of own) {
    const known = before.get(name) ?? kernel.index.get(name);
    all.push({ name, path, dependencies: known?.dependencies ?? [] });
  }
  for (const module of added) all.push({ ...module, path: plainPath(module) });
  const merged = new ModuleIndex(all.map((module) => `${module.path}:`).join("\n"), "");
  const lines = all.map((module) => dependencyLine(module, merged));
  const names = new Set(all.map(({ name }) => name));
  const aliases = kernel.aliases.split("\n").filter((line) => names.has(line.split(" ")[2] ?? ""));
  return [
    file(`${folder}/modules.dep`, `${lines.join("\n")}\n`),
    file(
      `${folder}/modules.dep.bin`,
      encodeKmodIndex(
        all.map(({ name }, priority) => ({ key: name, value: lines[priority] ?? "", priority })),
      ),
    ),
    file(`${folder}/modules.alias`, `${aliases.join("\n")}\n`),
    file(`${folder}/modules.alias.bin`, encodeKmodIndex(aliasEntries(aliases))),
  ];
}

/** Lines of modules.alias, `alias PATTERN MODULE`, as entries of its binary index. */
function* aliasEntries(lines: readonly string[]) {
  for (const [priority, line] of lines.entries()) {
    const [word, pattern, module] = line.split(" ");
    // In the index a dash is an underscore, but not within a range of characters.
    if (word === "alias" && pattern && module) yield { key: underscores(pattern), value: module, priority };
  }
}

function underscores(pattern: string): string {
  return pattern.replace(/\[[^\]]*\]|-/g, (part) => (part === "-" ? "_" : part));
}

function loadLists(initramfs: Initramfs, generator: Generator, modules: readonly string[]): CpioMember[] {
  const everywhere = file("etc/modules-load.d/doppel.conf", `${modules.join("\n")}\n`);
  switch (generator) {
    case "initramfs-tools": {
      const before = text(initramfs, "conf/modules").trimEnd();
      return [file("conf/modules", `${before === "" ? "" : `${before}\n`}${modules.join("\n")}\n`)];
    }
    case "dracut":
      return [
        everywhere,
        file(
          "etc/cmdline.d/90-doppel.conf",
          ` ${modules.map((name) => `rd.driver.pre=${name}`).join(" ")}\n`,
        ),
      ];
    case "mkinitcpio":
      return [everywhere, file("config", mkinitcpioConfig(text(initramfs, "config"), modules))];
    case "mkinitfs":
    case "unknown":
      // Loaded by their aliases; systemd also reads the list.
      return [everywhere];
  }
}

/** /config is shell: the last assignment counts. */
function mkinitcpioConfig(config: string, modules: readonly string[]): string {
  return `${config.trimEnd()}\nMODULES="\${MODULES} ${modules.join(" ")}"\n`;
}

/** Modules are put in unpacked: not every modprobe knows every compression. */
function plainPath({ path }: KernelModule): string {
  return path.replace(/\.ko\.(gz|xz|zst|bz2)$/, ".ko");
}

function text(initramfs: Initramfs, path: string): string {
  return initramfs.file(path)?.toString("utf8") ?? "";
}

function file(path: string, content: string | Buffer): CpioMember {
  return { path, mode: FILE_MODE, content: typeof content === "string" ? Buffer.from(content) : content };
}

/** A loadable kernel module of one kernel version. */
export interface KernelModule {
  /** As the kernel names it: `virtio_blk`. */
  name: string;
  /** Relative to /lib/modules/VERSION: `kernel/drivers/block/virtio_blk.ko.xz`. */
  path: string;
  /** Names of what must be loaded before it, in that order. */
  dependencies: string[];
}

export interface ModuleClosure {
  /** What must be loaded, dependencies first. */
  modules: KernelModule[];
  /** Names that are a part of the kernel itself. */
  builtIn: string[];
  /** Names that this kernel does not have. */
  missing: string[];
}

/** A module's name from its file: no folder, no ending, `_` for `-` (kmod, path_to_modname). */
export function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  return file.replace(/\.ko(\.(gz|xz|zst|bz2))?$/, "").replaceAll("-", "_");
}

/** What depmod wrote about the modules of one kernel version. */
export class ModuleIndex {
  readonly #modules = new Map<string, KernelModule>();
  readonly #builtIn: Set<string>;

  /** `dep` and `builtIn`: the texts of modules.dep and modules.builtin (man modules.dep). */
  constructor(dep: string, builtIn: string) {
    this.#builtIn = new Set(lines(builtIn).map(moduleName));
    for (const line of lines(dep)) {
      const colon = line.indexOf(":");
      if (colon < 0) continue;
      const path = relativePath(line.slice(0, colon));
      const needed = line
        .slice(colon + 1)
        .split(/\s+/)
        .filter(Boolean);
      // The last one named is the first to load.
      const dependencies = needed.map(moduleName).reverse();
      this.#modules.set(moduleName(path), { name: moduleName(path), path, dependencies });
    }
  }

  get(name: string): KernelModule | undefined {
    return this.#modules.get(name.replaceAll("-", "_"));
  }

  has(name: string): boolean {
    return this.get(name) !== undefined || this.isBuiltIn(name);
  }

  isBuiltIn(name: string): boolean {
    return this.#builtIn.has(name.replaceAll("-", "_"));
  }

  /** All modules, in the order of the file. */
  all(): KernelModule[] {
    return [...this.#modules.values()];
  }

  /** What loading `names` needs. */
  closure(names: readonly string[]): ModuleClosure {
    const closure: ModuleClosure = { modules: [], builtIn: [], missing: [] };
    const taken = new Set<string>();
    const take = (name: string) => {
      if (taken.has(name)) return;
      taken.add(name);
      const module = this.#modules.get(name);
      if (!module) {
        (this.#builtIn.has(name) ? closure.builtIn : closure.missing).push(name);
        return;
      }
      for (const dependency of module.dependencies) take(dependency);
      closure.modules.push(module);
    };
    for (const name of names) take(name.replaceAll("-", "_"));
    return closure;
  }
}

/** The line of modules.dep that says what `module` needs. */
export function dependencyLine(module: KernelModule, index: ModuleIndex): string {
  const paths = [...module.dependencies].reverse().map((name) => index.get(name)?.path);
  return [`${module.path}:`, ...paths.filter((path) => path !== undefined)].join(" ");
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

/** Old versions of depmod wrote absolute paths. */
function relativePath(path: string): string {
  return path.replace(/^(?:\/usr)?\/lib\/modules\/[^/]+\//, "");
}

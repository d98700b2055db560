/** Not needed by a running Windows, and large. */
const LEFT_OUT = /\.(?:pdb|map|txt|htm|html|doc|md)$/i;

/**
 * Chooses the drivers for one version of Windows: of every driver the folder that fits best. The ISO has
 * `DRIVER/VERSION/ARCH`, packages have `ARCH/VERSION`: what counts is that both names stand above the file.
 * File names are flat, in lower case, and those of the better folder win. Paths by file names.
 */
export function chooseDrivers(
  files: readonly string[],
  versions: readonly string[],
  arch: string,
): Map<string, string> {
  const ranked = files
    .flatMap((path) => {
      const parts = path.toLowerCase().split("/");
      const name = parts.pop() ?? "";
      const rank = versions.findIndex((version) => parts.includes(version.toLowerCase()));
      if (rank < 0 || !parts.includes(arch) || LEFT_OUT.test(name)) return [];
      return [{ path, name, rank, folder: parts.join("/") }];
    })
    .sort((a, b) => a.rank - b.rank);
  const drivers = new Map<string, string>();
  for (const { name, folder } of ranked)
    if (name.endsWith(".inf") && !drivers.has(name)) drivers.set(name, folder);
  const folders = new Set(drivers.values());
  const chosen = new Map<string, string>();
  for (const { name, folder, path } of ranked)
    if (folders.has(folder) && !chosen.has(name)) chosen.set(name, path);
  return chosen;
}

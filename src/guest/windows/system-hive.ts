import type { Hive } from "./hive.ts";
import { controlSet, type SystemHive } from "./storage-drivers.ts";

/** Numbers in `Select` that name control sets which Windows may start from. */
const SELECTED = ["Current", "Default", "LastKnownGood"] as const;

/** What of a SYSTEM hive its edits depend on. */
export async function readSystemHive(hive: Hive): Promise<SystemHive> {
  const select = (await hive.tree("Select")).get("select");
  const current = select?.get("current");
  const controlSets = new Set<number>();
  for (const name of SELECTED) {
    const value = select?.get(name.toLowerCase());
    if (value?.type === "dword" && value.number > 0 && value.number < 1000) controlSets.add(value.number);
  }
  // A hive without `Select` has one control set.
  if (controlSets.size === 0) controlSets.add(1);
  const sets = [...controlSets].sort((a, b) => a - b);
  const services = new Map<string, string>();
  const overridden = new Set<string>();
  for (const set of sets) {
    for (const [path, values] of await hive.tree(`${controlSet(set)}\\Services`)) {
      const [, service, below] = /\\services\\([^\\]+)(?:\\(.*))?$/.exec(path) ?? [];
      if (service === undefined) continue;
      const image = values.get("imagepath");
      if (below === undefined)
        services.set(service, image && "text" in image ? image.text : `System32\\drivers\\${service}.sys`);
      if (below === "startoverride") overridden.add(service);
    }
  }
  return {
    controlSets: sets,
    current: current?.type === "dword" && sets.includes(current.number) ? current.number : (sets[0] ?? 1),
    services,
    hasDriverDatabase: (await hive.tree("DriverDatabase")).size > 0,
    overridden,
  };
}

import type { FarmContext } from "../context.ts";
import { canDo, type FarmDatabase } from "../file/databases.ts";
import { readExpansion } from "../steps/databases/expansion.ts";
import { expandedGate, oneWriterGate, pointedGate, safetyCopyGate } from "./databases.ts";
import { evidenceGate } from "./evidence.ts";
import type { Gate } from "./gate.ts";
import { imageGate } from "./image.ts";
import { routersGate } from "./routers.ts";
import { verdict } from "./verdict.ts";

/** What must be so before users get the new version; `canary` of them first, 0 to 1. */
export async function switchGates(context: FarmContext, canary?: number): Promise<Gate[]> {
  const { farm, journal } = context;
  const boxes = farm.spec.boxes.map(({ name }) => name);
  const databases = await Promise.all(farm.spec.databases.map((one) => databaseGates(context, one)));
  return [
    evidenceGate(farm, journal, () => new Date()),
    routersGate(context, canary),
    ...databases.flat(),
    ...(farm.spec.boxes.some(({ kind }) => kind === "libvirt") ? [imageGate(context)] : []),
    ...(farm.spec.off.length > 0 ? [handOverGate(context), oneWriterGate(context, boxes)] : []),
  ];
}

/** A database can be gone back to, has what the new version needs, and is used by every shadow. */
async function databaseGates(context: FarmContext, database: FarmDatabase): Promise<Gate[]> {
  return [
    ...(canDo(database, "safetyCopy") ? [safetyCopyGate(context, database)] : []),
    ...(database.migrations.length > 0
      ? [expandedGate(context, database, await readExpansion(context, database))]
      : []),
    ...(database.point ? [pointedGate(context, database, database.point)] : []),
  ];
}

/** What may run on one side only can be turned off on the old one. */
function handOverGate({ machines, farm }: FarmContext): Gate {
  return {
    id: "hand-over",
    title: `${farm.spec.off.map(({ name }) => name).join(", ")} can be turned off on the live machines`,
    look: async () => {
      const closed = farm.spec.boxes.filter((box) => !machines.live(box).canConnect);
      return verdict(
        "the file says how to log in",
        closed.map(({ name }) => `${name} has no live.ssh`),
      );
    },
  };
}

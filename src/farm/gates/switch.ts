import type { FarmContext } from "../context.ts";
import { canDo, type FarmDatabase } from "../file/databases.ts";
import { describeState } from "../routers/router.ts";
import { readExpansion } from "../steps/databases/expansion.ts";
import { expandedGate, pointedGate, safetyCopyGate } from "./databases.ts";
import { evidenceGate } from "./evidence.ts";
import type { Gate } from "./gate.ts";
import { imageGate } from "./image.ts";
import { verdict } from "./verdict.ts";

/** What must be so before users get the new version. */
export async function switchGates(context: FarmContext): Promise<Gate[]> {
  const { farm, journal } = context;
  const databases = await Promise.all(farm.spec.databases.map((one) => databaseGates(context, one)));
  return [
    evidenceGate(farm, journal, () => new Date()),
    routersGate(context),
    ...databases.flat(),
    ...(farm.spec.boxes.some(({ kind }) => kind === "libvirt") ? [imageGate(context)] : []),
    ...(farm.spec.off.length > 0 ? [handOverGate(context)] : []),
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

/** The routers answer, and can do what the file asks of them. */
function routersGate({ routers, farm }: FarmContext): Gate {
  const { watch, canary } = farm.spec.switch;
  return {
    id: "routers",
    title: "the routers answer and can be watched",
    look: async (signal) => {
      const open = await routers.open();
      const silent = (await routers.probe(signal)).filter(({ runtime }) => runtime === undefined);
      const blind = watch === 0 ? [] : open.filter(({ abilities }) => !abilities.has("statistics"));
      const whole = canary === undefined ? [] : open.filter(({ abilities }) => !abilities.has("canary"));
      return verdict("all answer", [
        ...silent.map(describeState),
        ...blind.map(({ name }) => `${name} tells no statistics: docs/routers.md, or switch.watch: 0s`),
        ...whole.map(({ name }) => `${name} cannot have a canary: leave switch.canary out`),
      ]);
    },
  };
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

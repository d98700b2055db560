import type { FarmContext } from "../../context.ts";
import type { Stage } from "../../engine/step.ts";
import type { FarmDatabase } from "../../file/databases.ts";
import { expandedGate, oneWriterGate, testCopyGate } from "../../gates/databases.ts";
import type { Gate } from "../../gates/gate.ts";
import type { Json } from "../../journal/entry.ts";
import { readExpansion } from "../../steps/databases/expansion.ts";
import { type PointTarget, pointSteps } from "../../steps/databases/point.ts";
import type { FarmFlow } from "../flow.ts";
import { chosenDatabases, kept, pointArguments } from "./arguments.ts";

/** `doppel farm databases point`: one database at a time, one shadow at a time, checked after each. */
export async function pointFlow(context: FarmContext, args: Json): Promise<FarmFlow> {
  const { databases: names, to, shadow } = pointArguments.parse(args);
  const shadows = shadow === undefined ? context.machines.all() : [context.machines.shadow(shadow)];
  const stages: Stage[] = [];
  const gates: Gate[] = [];
  for (const database of chosenDatabases(context, names)) {
    // Who names a database wants it pointed; of all of them, those that the file says how.
    if (names === undefined && database.point === undefined) continue;
    const lane = shadows.flatMap((one) => pointSteps(context, database, one, to));
    stages.push({ title: `point to ${to} ${database.name}`, lanes: [lane] });
    gates.push(...(await pointGates(context, database, to)));
  }
  if (to === "live" && context.farm.spec.off.length > 0 && stages.length > 0)
    gates.push(
      oneWriterGate(
        context,
        shadows.map(({ box }) => box.name),
      ),
    );
  return {
    name: "databases point",
    direction: "do",
    arguments: kept({ databases: names, to, shadow }),
    stages,
    gates: [{ beforeStage: 0, gates }],
  };
}

async function pointGates(context: FarmContext, database: FarmDatabase, to: PointTarget): Promise<Gate[]> {
  if (to === "copy") return [testCopyGate(context, database)];
  if (database.migrations.length === 0) return [];
  return [expandedGate(context, database, await readExpansion(context, database))];
}

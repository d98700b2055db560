import type { FarmContext } from "../../context.ts";
import type { Stage } from "../../engine/step.ts";
import { additiveGate, safetyCopyGate, testCopyGate } from "../../gates/databases.ts";
import type { Gate } from "../../gates/gate.ts";
import { routersGate } from "../../gates/routers.ts";
import type { Json } from "../../journal/entry.ts";
import { expandStep } from "../../steps/databases/expand.ts";
import { readExpansion } from "../../steps/databases/expansion.ts";
import { oldVersionStep } from "../../steps/databases/old-version.ts";
import type { FarmFlow } from "../flow.ts";
import { chosenDatabases, expandArguments, kept } from "./arguments.ts";

/**
 * `doppel farm databases expand`: additions only, first on the test copy, then under the old version's checks there, then on
 * the live database. Without a safety copy nothing is begun.
 */
export async function expandFlow(context: FarmContext, args: Json): Promise<FarmFlow> {
  const { databases: names } = expandArguments.parse(args);
  const stages: Stage[] = [];
  const gates: Gate[] = [];
  for (const database of chosenDatabases(context, names)) {
    if (database.migrations.length === 0) continue;
    const expansion = await readExpansion(context, database);
    stages.push({
      title: `expand ${database.name}`,
      lanes: [
        [
          expandStep(context, database, expansion, "copy"),
          oldVersionStep(context, database, expansion),
          expandStep(context, database, expansion, "live"),
        ],
      ],
    });
    gates.push(
      additiveGate(database, expansion),
      safetyCopyGate(context, database, context.farm.spec.gates.copies),
      testCopyGate(context, database),
    );
  }
  if (stages.length > 0 && context.farm.spec.switch.watch > 0) gates.push(routersGate(context));
  return {
    name: "databases expand",
    direction: "do",
    arguments: kept({ databases: names }),
    stages,
    gates: [{ beforeStage: 0, gates }],
  };
}

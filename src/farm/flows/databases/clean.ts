import type { FarmContext } from "../../context.ts";
import type { Stage, Step } from "../../engine/step.ts";
import type { FarmDatabase } from "../../file/databases.ts";
import { copyUnusedGate, restoredGate } from "../../gates/databases-left.ts";
import type { Gate } from "../../gates/gate.ts";
import type { Json } from "../../journal/entry.ts";
import { dropSteps, hasTestCopy, removeCopySteps } from "../../steps/databases/clean.ts";
import { unfinishedCopyStep } from "../../steps/databases/safety-copy.ts";
import { testCopyStep } from "../../steps/databases/test-copy.ts";
import type { FarmFlow } from "../flow.ts";
import { chosenDatabases, cleanArguments, kept } from "./arguments.ts";

/**
 * `doppel farm databases clean`: test copies, and what restores have left, are dropped; safety copies only when that is asked
 * for. Who asks has seen the plan.
 */
export async function cleanDatabasesFlow(context: FarmContext, args: Json): Promise<FarmFlow> {
  const { databases: names, safetyCopies } = cleanArguments.parse(args);
  const chosen = chosenDatabases(context, names);
  const copies: Step[] = [];
  const unfinished = await Promise.all(chosen.map((database) => unfinishedCopy(context, database)));
  const gates: Gate[] = chosen.map((database) => restoredGate(context, database));
  for (const database of chosen) {
    if (database.engine === "commands" || !(await hasTestCopy(context, database))) continue;
    copies.push(await testCopyStep(context, database));
    if (database.point) gates.push(copyUnusedGate(context, database, database.point));
  }
  const left = chosen.flatMap((database) => dropSteps(context, database));
  const files = safetyCopies ? await Promise.all(chosen.map((one) => removeCopySteps(context, one))) : [];
  const alone = (steps: readonly Step[]) => ({ standsAlone: true, lanes: steps.map((step) => [step]) });
  const stages: Stage[] = [
    { title: "what restores have left", ...alone(left) },
    { title: "copies that were cut off", direction: "undo", ...alone(unfinished.flat()) },
    { title: "test copies", direction: "undo", ...alone(copies) },
    // Last: what there is to go back to stays as long as anything can fail.
    { title: "safety copies", ...alone(files.flat()) },
  ];
  return {
    name: "databases clean",
    direction: "do",
    arguments: kept({ databases: names, safetyCopies }),
    stages: stages.filter(({ lanes }) => lanes.length > 0),
    gates: [{ beforeStage: 0, gates }],
  };
}

/** The step that takes away what a safety copy that was cut off has left, when there is something. */
async function unfinishedCopy(context: FarmContext, database: FarmDatabase): Promise<Step[]> {
  const step = unfinishedCopyStep(context, database);
  const { state } = await step.probe(new AbortController().signal);
  return state === "absent" ? [] : [step];
}

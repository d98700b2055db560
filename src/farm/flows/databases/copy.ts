import type { FarmContext } from "../../context.ts";
import type { Step } from "../../engine/step.ts";
import { canDo, type FarmDatabase } from "../../file/databases.ts";
import { type Json, membersOf } from "../../journal/entry.ts";
import {
  type SafetyCopyDemands,
  safetyCopyStep,
  unfinishedCopyStep,
} from "../../steps/databases/safety-copy.ts";
import { testCopyStep } from "../../steps/databases/test-copy.ts";
import type { FarmFlow } from "../flow.ts";
import { chosenDatabases, copyArguments, kept } from "./arguments.ts";

/** `doppel farm databases copy`: of each database a safety copy to go back to, and a test copy to try the new version on. */
export async function copyFlow(context: FarmContext, args: Json): Promise<FarmFlow> {
  const { databases: names, rehearse, maxAgeMs } = copyArguments.parse(args);
  const demands = { rehearse, maxAgeMs: maxAgeMs ?? context.farm.spec.gates.copies };
  const lanes = await Promise.all(
    chosenDatabases(context, names).map(async (database) => [
      ...(await copyLane(context, database, demands)),
      ...(membersOf(args).undo === true ? [unfinishedCopyStep(context, database)] : []),
    ]),
  );
  return {
    name: "databases copy",
    direction: "do",
    arguments: kept({ databases: names, rehearse, maxAgeMs }),
    stages: lanes.length > 0 ? [{ title: "copies", lanes }] : [],
    gates: [],
  };
}

/** The safety copy first: it is the one that must not be missing. A database of commands has what its commands can do. */
async function copyLane(
  context: FarmContext,
  database: FarmDatabase,
  demands: SafetyCopyDemands,
): Promise<Step[]> {
  return [
    ...(canDo(database, "safetyCopy") ? [safetyCopyStep(context, database, demands)] : []),
    ...(canDo(database, "copy") ? [await testCopyStep(context, database)] : []),
  ];
}

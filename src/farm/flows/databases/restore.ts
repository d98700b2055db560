import type { FarmContext } from "../../context.ts";
import type { Stage } from "../../engine/step.ts";
import type { Json } from "../../journal/entry.ts";
import { restoreStep } from "../../steps/databases/restore.ts";
import type { RestoreRequest } from "../../steps/databases/restores.ts";
import type { FarmFlow } from "../flow.ts";
import { kept, restoreArguments } from "./arguments.ts";

/** `doppel farm databases restore`: the safety copy takes the live database's place. Who asks for it has confirmed it. */
export async function restoreFlow(context: FarmContext, args: Json): Promise<FarmFlow> {
  const { restore } = restoreArguments.parse(args);
  return {
    name: "databases restore",
    direction: "do",
    arguments: kept({ restore }),
    stages: restoreStages(context, restore),
    gates: [],
  };
}

/** A database after the other, each in one step. */
export function restoreStages(context: FarmContext, requests: readonly RestoreRequest[]): Stage[] {
  return requests.map((request) => ({
    title: `restore ${request.database}`,
    direction: "do",
    lanes: [[restoreStep(context, context.databases.find(request.database), request)]],
  }));
}

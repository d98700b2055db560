import type { FarmContext } from "../../context.ts";
import type { DatabaseAddress } from "../../databases/address.ts";
import { expandByCommand } from "../../databases/commands.ts";
import {
  applyMigration,
  type ExpandEvent,
  type ExpandedStatement,
  expansionState,
  requireSafetyCopy,
} from "../../databases/expand.ts";
import type { StatementVerdict } from "../../databases/verdict.ts";
import type { Reality, Step } from "../../engine/step.ts";
import type { CommandDatabase, FarmDatabase, SqlDatabase } from "../../file/databases.ts";
import { lookingStep } from "../recorded.ts";
import type { Expansion } from "./expansion.ts";
import { safetyCopies, stepOf } from "./records.ts";
import { restoreId } from "./restores.ts";
import { testCopyId } from "./test-copy.ts";
import { WatchedSite } from "./watched.ts";

type Target = "copy" | "live";

const STAYS = "nothing: what was added stays, and the old version does not notice it";

export const expandId = (database: string, target: Target): string =>
  stepOf(database, target === "live" ? "expand" : "expand-copy");

/** Expands the test copy or the live database; what its ledger has as done is not done again. */
export function expandStep(
  context: FarmContext,
  database: FarmDatabase,
  expansion: Expansion,
  target: Target,
): Step {
  const { name } = database;
  const about = {
    id: expandId(name, target),
    title: target === "live" ? `expand the live ${name}` : `expand the test copy of ${name}`,
    inputs: { files: database.migrations, digest: expansion.digest },
    undoes: target === "live" ? STAYS : "nothing: the test copy is dropped by 'databases copy --undo'",
  };
  if (database.engine === "commands") return commandStep(context, database, target, about);
  return {
    ...about,
    probe: async () => await expansionReality(context, database, expansion, target),
    run: async (signal) => {
      const address = await context.databases[target](database);
      if (target === "live") await requireCopy(context, database, address);
      // The test copy is used by nobody; only what is done to the live database can be felt.
      const site = target === "live" ? await WatchedSite.start(context, name, signal) : undefined;
      const statements: ExpandedStatement[] = [];
      for (const { file, verdict } of expansion.files) {
        if (!verdict) continue;
        const options = {
          limits: { lockTimeoutMs: database.lockTimeout, attempts: database.lockAttempts },
          onEvent: (event: ExpandEvent) => {
            const text = eventText(`${name}, ${file}`, event);
            if (text !== undefined) context.tell(text);
          },
          between: async ({ line, statement }: StatementVerdict) =>
            await site?.expectWell(`before ${file}:${line}: ${statement}`, signal),
          signal,
        };
        statements.push(...(await applyMigration(address, verdict, options)));
      }
      await site?.expectWell("after the last statement", signal);
      return { ...summary(statements, expansion.digest), ...(site ? { site: site.summary() } : {}) };
    },
  };
}

/** How far the migrations of a database have come, by its own ledger. */
async function expansionReality(
  { databases }: FarmContext,
  database: SqlDatabase,
  { files }: Expansion,
  target: Target,
): Promise<Reality> {
  const address = await databases[target](database);
  let done = 0;
  let total = 0;
  for (const { verdict } of files) {
    if (!verdict) continue;
    const state = await expansionState(address, verdict);
    done += state.done;
    total += state.total;
  }
  if (done === total) return { state: "done", result: { statements: total } };
  return done === 0
    ? { state: "absent" }
    : { state: "partial", why: `${done} of ${total} statements are done` };
}

async function requireCopy(
  { journal }: FarmContext,
  { name }: SqlDatabase,
  live: DatabaseAddress,
): Promise<void> {
  await requireSafetyCopy(live, safetyCopies(journal.entries(), name).at(-1)?.sql);
}

/** By the file's command, which must bear being run again. */
function commandStep(
  { farm, journal }: FarmContext,
  { name, commands, migrations }: CommandDatabase,
  target: Target,
  about: Pick<Step, "id" | "title" | "inputs" | "undoes">,
): Step {
  return lookingStep(journal, {
    ...about,
    after: [target === "copy" ? testCopyId(name) : restoreId(name)],
    look: async (signal) => {
      for (const file of migrations) await expandByCommand(commands, farm.resolve(file), target, signal);
      return { files: migrations.length };
    },
  });
}

/** Undefined: it says nothing that was not said. */
function eventText(where: string, { step, statement, blockers = [] }: ExpandEvent): string | undefined {
  const what = `${where}:${statement.line}: ${statement.statement}`;
  const who = blockers.length === 0 ? "" : `, which ${blockers.join("; ")} holds`;
  switch (step) {
    case "begin":
      return `runs: ${what}`;
    case "ran":
      return `ran: ${what}`;
    case "already":
      return `ran before: ${what}`;
    case "waits":
      return `waits for its lock${who}, lets others pass and tries again: ${what}`;
    case "done":
      return undefined;
  }
}

function summary(statements: readonly ExpandedStatement[], digest: string) {
  return {
    statements: statements.length,
    ran: statements.filter(({ ran }) => ran).length,
    attempts: statements.reduce((sum, { attempts }) => sum + attempts, 0),
    seconds: Math.round(statements.reduce((sum, { seconds }) => sum + seconds, 0) * 1000) / 1000,
    digest,
  };
}

import { DoppelError, EXIT } from "../../../errors.ts";
import type { FarmContext } from "../../context.ts";
import { type DatabaseAddress, describeAddress } from "../../databases/address.ts";
import { copyByCommand } from "../../databases/commands.ts";
import { engineOf } from "../../databases/engines.ts";
import { dropTestCopy, makeTestCopy } from "../../databases/test-copy.ts";
import type { Reality, Step } from "../../engine/step.ts";
import type { CommandDatabase, FarmDatabase, SqlDatabase } from "../../file/databases.ts";
import { type Json, membersOf } from "../../journal/entry.ts";
import { lastRun, lookingStep } from "../recorded.ts";
import { placesOf } from "./places.ts";
import { isOurCopy, stepOf } from "./records.ts";

export const testCopyId = (database: string): string => stepOf(database, "test-copy");

/** Makes the test copy of a database, on which the new version is tried. Undone by dropping it. */
export async function testCopyStep(context: FarmContext, database: FarmDatabase): Promise<Step> {
  return database.engine === "commands"
    ? commandCopyStep(context, database)
    : await sqlCopyStep(context, database);
}

async function sqlCopyStep(context: FarmContext, database: SqlDatabase): Promise<Step> {
  const { databases } = context;
  const places = await placesOf(context, database);
  const id = testCopyId(database.name);
  let made: Json | undefined;
  return {
    id,
    title: `make a test copy of ${database.name}`,
    inputs: { ...places },
    undoes: "drops the test copy",
    undoTitle: `drop the test copy of ${database.name}`,
    probe: async () => {
      const [live, copy] = await Promise.all([databases.live(database), databases.copy(database)]);
      if (!(await engineOf(copy).exists(copy))) return { state: "absent" };
      const identity = await requireOurs(context, id, live, copy);
      const whole = made ?? lastRun(context.journal.entries(), id)?.result;
      return wholeCopy(whole, identity);
    },
    run: async (signal) => {
      const [live, to] = await Promise.all([databases.live(database), databases.copy(database)]);
      const copy = await makeTestCopy(live, { to, replace: true, signal });
      const { identity } = await engineOf(to).facts(to);
      made = { address: describeAddress(copy.address), how: copy.how, identity, seconds: copy.seconds };
      return made;
    },
    undo: async () => {
      const address = await databases.copy(database);
      await dropTestCopy({ address, how: "dump", seconds: 0 });
      made = undefined;
    },
  };
}

/** A database of that name which no copy of ours was begun in is left alone, and the live one always. */
async function requireOurs(
  { journal }: FarmContext,
  id: string,
  live: DatabaseAddress,
  copy: DatabaseAddress,
): Promise<string> {
  const { identity } = await engineOf(copy).facts(copy);
  const where = describeAddress(copy);
  if (identity === (await engineOf(live).facts(live)).identity) {
    throw new DoppelError("copy-is-live", `the copy's address ${where} is the live database itself`, {
      hint: "name another database in copy.url",
      exitCode: EXIT.refused,
    });
  }
  if (isOurCopy(journal.entries(), id, where)) return identity;
  throw new DoppelError("copy-exists", `there is a database at ${where} that this farm did not make`, {
    hint: "name another database in copy.url, or drop that one",
    exitCode: EXIT.refused,
  });
}

function wholeCopy(recorded: Json | undefined, identity: string): Reality {
  return membersOf(recorded).identity === identity
    ? { state: "done", result: recorded ?? null }
    : { state: "partial", why: "it was begun and not finished" };
}

/** By the file's command. What it made nobody here can see: the journal knows that it ran. */
function commandCopyStep({ journal }: FarmContext, { name, commands }: CommandDatabase): Step {
  return lookingStep(journal, {
    id: testCopyId(name),
    title: `make a test copy of ${name}`,
    inputs: { copy: commands.copy ?? "the file names no command" },
    undoes: "nothing: the file names no command for it",
    after: [],
    look: async (signal) => {
      await copyByCommand(commands, signal);
      return { how: "command" };
    },
  });
}

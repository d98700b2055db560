import { rm, stat } from "node:fs/promises";
import { DoppelError, EXIT } from "../../../errors.ts";
import { formatBytes } from "../../../units.ts";
import type { FarmContext } from "../../context.ts";
import { withDatabase } from "../../databases/address.ts";
import { engineOf } from "../../databases/engines.ts";
import type { Step } from "../../engine/step.ts";
import type { FarmDatabase, SqlDatabase } from "../../file/databases.ts";
import { type LeftDatabase, leftByRestores, leftOf, leftText, removeCopyId } from "./left.ts";
import { placesOf } from "./places.ts";
import { isOurCopy, type RecordedCopy, safetyCopies } from "./records.ts";
import { dropId } from "./restores.ts";
import { testCopyId } from "./test-copy.ts";

/** Drops what restores of a database have left, one step each, so that a plan names every one and what is in it. */
export function dropSteps(context: FarmContext, database: FarmDatabase): Step[] {
  if (database.engine === "commands") return [];
  return leftByRestores(context.journal.entries(), database.name).map((one) =>
    dropStep(context, database, one),
  );
}

function dropStep({ databases }: FarmContext, database: SqlDatabase, { name, holds }: LeftDatabase): Step {
  const place = async () => withDatabase(await databases.live(database), name);
  return {
    id: dropId(database.name, name),
    title: `drop ${name}: ${holds}`,
    inputs: { name },
    undoes: "nothing: it is gone then",
    probe: async () => {
      const address = await place();
      return (await engineOf(address).exists(address))
        ? { state: "absent" }
        : { state: "done", result: "it is not there" };
    },
    run: async () => {
      const address = await place();
      const { sizeBytes } = await engineOf(address).facts(address);
      await engineOf(address).drop(address, name);
      return { dropped: name, sizeBytes };
    },
  };
}

/** Whether the journal knows of a test copy that was made and not dropped: only such a one is ours to drop. */
export async function hasTestCopy(context: FarmContext, database: SqlDatabase): Promise<boolean> {
  const { copy } = await placesOf(context, database);
  return isOurCopy(context.journal.entries(), testCopyId(database.name), copy);
}

/** Removes the safety copies of a database that are there: nothing can be restored then. */
export async function removeCopySteps({ journal }: FarmContext, { name }: FarmDatabase): Promise<Step[]> {
  const steps: Step[] = [];
  for (const copy of safetyCopies(journal.entries(), name)) {
    const found = await stat(copy.file).catch(() => undefined);
    if (found) steps.push(removeCopyStep(name, copy));
  }
  return steps;
}

function removeCopyStep(name: string, { file, bytes, begun }: RecordedCopy): Step {
  return {
    id: removeCopyId(name, file),
    title: `remove the safety copy of ${name} of ${begun}, ${formatBytes(bytes)}: ${file}`,
    inputs: { file },
    undoes: "nothing: it is gone then",
    probe: async () => {
      const found = await stat(file).catch(() => undefined);
      return found ? { state: "absent" } : { state: "done", result: "it is not there" };
    },
    run: async () => {
      const { size } = await stat(file);
      if (size !== bytes) throw otherFile(file, size, bytes);
      await rm(file);
      return { removed: file, bytes };
    },
  };
}

function otherFile(file: string, size: number, bytes: number): DoppelError {
  return new DoppelError(
    "copy-corrupt",
    `${file} has ${size} bytes, and the safety copy of that name had ${bytes}`,
    {
      hint: "somebody has put another file there: look at it, and remove it by hand",
      exitCode: EXIT.different,
    },
  );
}

/** Says what of the databases stays when the old version goes, and what removes it. */
export function leftSteps({ journal, databases }: FarmContext): Step[] {
  const names = databases.all().map(({ name }) => name);
  return leftOf(journal.entries(), names).map((left) => ({
    id: `clean/left-alone/${left.database}`,
    title: `leave what was made of ${left.database} as it is: ${leftText(left)} ('databases clean' removes it)`,
    inputs: null,
    undoes: "nothing: it is not touched",
    probe: async () => ({ state: "done", result: "it stays as it is" }),
    run: async () => null,
  }));
}

import { basename } from "node:path";
import { formatBytes } from "../../../units.ts";
import type { JournalEntry } from "../../journal/entry.ts";
import { lastRun } from "../recorded.ts";
import { safetyCopies, stepOf } from "./records.ts";
import { dropId, type KnownRestore, knownRestores } from "./restores.ts";
import { testCopyId } from "./test-copy.ts";

/** A database that a restore has made beside a live one, and that stays until somebody drops it. */
export interface LeftDatabase {
  name: string;
  /** What is in it, for who decides whether it may go. */
  holds: string;
}

/** What restores of a database have left, by the journal: reality may have less. */
export function leftByRestores(entries: readonly JournalEntry[], database: string): LeftDatabase[] {
  const dropped = new Set(entries.flatMap(({ event }) => (event.kind === "step-done" ? [event.step] : [])));
  return knownRestores(entries, database)
    .flatMap((restore) => namesOf(restore, database))
    .filter(({ name }) => !dropped.has(dropId(database, name)));
}

function namesOf({ request, begun, state }: KnownRestore, database: string): LeftDatabase[] {
  const replacement = {
    name: request.replacement,
    holds: "a copy that was being loaded, and used by nobody",
  };
  const kept = { name: request.kept, holds: `what ${database} was before the restore of ${begun}` };
  const aside = {
    name: request.aside,
    holds: `what ${database} was after the restore of ${begun}, until that was taken back`,
  };
  if (state === "done") return [kept];
  return state === "undone" ? [aside] : [replacement, kept, aside];
}

export const removeCopyId = (database: string, file: string): string =>
  stepOf(database, `remove-copy/${basename(file)}`);

/** What an upgrade has made of a database and nobody has removed, by the journal. */
export interface Left {
  database: string;
  testCopy: boolean;
  byRestores: LeftDatabase[];
  safetyCopies: { file: string; bytes: number; begun: string }[];
}

/** Of the databases of these names, those of which something is left. */
export function leftOf(entries: readonly JournalEntry[], databases: readonly string[]): Left[] {
  return databases
    .map((database) => ({
      database,
      testCopy: lastRun(entries, testCopyId(database)) !== undefined,
      byRestores: leftByRestores(entries, database),
      safetyCopies: safetyCopies(entries, database)
        .filter(({ file }) => !lastRun(entries, removeCopyId(database, file)))
        .map(({ file, bytes, begun }) => ({ file, bytes, begun })),
    }))
    .filter((left) => left.testCopy || left.byRestores.length > 0 || left.safetyCopies.length > 0);
}

/** `2 safety copies (12.0 MiB), the test copy, orders_kept_0a1b2c (what orders was before the restore of …)`. */
export function leftText({ testCopy, byRestores, safetyCopies }: Left): string {
  const bytes = safetyCopies.reduce((sum, copy) => sum + copy.bytes, 0);
  const copies = safetyCopies.length === 1 ? "1 safety copy" : `${safetyCopies.length} safety copies`;
  return [
    ...(safetyCopies.length > 0 ? [`${copies} (${formatBytes(bytes)})`] : []),
    ...(testCopy ? ["the test copy"] : []),
    ...byRestores.map(({ name, holds }) => `${name} (${holds})`),
  ].join(", ");
}

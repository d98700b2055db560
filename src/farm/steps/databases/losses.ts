import { messageOf } from "../../../errors.ts";
import type { FarmContext } from "../../context.ts";
import { type Writes, writesBetween } from "../../databases/activity.ts";
import { engineOf } from "../../databases/engines.ts";
import type { FarmDatabase } from "../../file/databases.ts";
import { lastRun } from "../recorded.ts";
import { notedId } from "./noted.ts";
import { type RecordedCopy, readActivity, safetyCopies } from "./records.ts";

/** What going back means for the rows of a database. */
export interface Losses {
  database: string;
  /** Written since users got the new version: what a way back without a restore keeps. Null when there was no switch. */
  sinceSwitch: Writes | null;
  /** Written since the safety copy was begun: what a restore loses. */
  sinceCopy: Writes | null;
  copy: { file: string; begun: string } | null;
  /** Why nothing is known. */
  problem: string | null;
}

/** Asks a database what was written to it. One that cannot be asked keeps nobody from going back. */
export async function lossesOf(
  context: FarmContext,
  database: FarmDatabase,
  copy: RecordedCopy | undefined = safetyCopies(context.journal.entries(), database.name).at(-1),
): Promise<Losses> {
  const known = {
    database: database.name,
    sinceSwitch: null,
    sinceCopy: null,
    copy: copy ? { file: copy.file, begun: copy.begun } : null,
    problem: null,
  };
  if (database.engine === "commands")
    return { ...known, problem: "its writes are not counted: it is handled by commands" };
  try {
    const live = await context.databases.live(database);
    const now = await engineOf(live).activity(live);
    const atSwitch = readActivity(lastRun(context.journal.entries(), notedId(database.name))?.result);
    return {
      ...known,
      sinceSwitch: atSwitch ? writesBetween(atSwitch, now) : null,
      sinceCopy: copy?.sql ? writesBetween(copy.sql.activity, now) : null,
    };
  } catch (error) {
    return { ...known, problem: messageOf(error) };
  }
}

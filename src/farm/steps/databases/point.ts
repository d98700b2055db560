import { DoppelError, EXIT, messageOf } from "../../../errors.ts";
import { expectedCells, OUTSIDE } from "../../check/cells.ts";
import { runMatrix } from "../../check/matrix.ts";
import type { FarmContext } from "../../context.ts";
import type { Reality, Step } from "../../engine/step.ts";
import type { FarmDatabase } from "../../file/databases.ts";
import { mustRemote } from "../../machines/remote.ts";
import type { Shadow } from "../../machines/shadow.ts";
import { lookingStep } from "../recorded.ts";
import { stepOf } from "./records.ts";

/** Which database the application of a shadow uses. */
export type PointTarget = "live" | "copy";

/** How a shadow is pointed to a database. */
export type Point = NonNullable<FarmDatabase["point"]>;

const MOST_NAMED = 5;

/** How the file says that a shadow is pointed to a database; `command-missing` (exit 3) when it does not. */
export function requirePoint({ name, point }: FarmDatabase): Point {
  if (point) return point;
  throw new DoppelError("command-missing", `the farm file does not say how a shadow is pointed to ${name}`, {
    hint: `add databases, ${name}, point`,
    exitCode: EXIT.refused,
  });
}

/** Points one shadow to the live database or to the test copy, and then checks it; pointed back when a check fails. */
export function pointSteps(
  context: FarmContext,
  database: FarmDatabase,
  shadow: Shadow,
  to: PointTarget,
): Step[] {
  const pointing = { name: database.name, point: requirePoint(database), shadow, to };
  const pointed = pointStep(pointing);
  return [pointed, checkedStep(context, pointing, pointed.id)];
}

interface Pointing {
  /** Of the database. */
  name: string;
  point: Point;
  shadow: Shadow;
  to: PointTarget;
}

function pointStep({ name, point, shadow, to }: Pointing): Step {
  return {
    id: stepOf(name, `point/${shadow.box.name}`),
    title: `point ${shadow.name} to the ${wordOf(to)} ${name}`,
    inputs: { to, command: point[to] },
    undoes: `points it to the ${wordOf(otherOf(to))} ${name} again`,
    undoTitle: `point ${shadow.name} to the ${wordOf(otherOf(to))} ${name} again`,
    probe: async (signal) => {
      const says = await pointedTo(shadow, point, signal);
      return says === to ? { state: "done", result: says } : notThere(says);
    },
    run: async (signal) => {
      await turn(shadow, point, to, signal);
      return to;
    },
    undo: (signal) => turn(shadow, point, otherOf(to), signal),
  };
}

function checkedStep(context: FarmContext, pointing: Pointing, pointId: string): Step {
  const { name, point, shadow, to } = pointing;
  return lookingStep(context.journal, {
    id: stepOf(name, `pointed/${shadow.box.name}`),
    title: `${shadow.name} passes its checks on the ${wordOf(to)} ${name}`,
    inputs: { to },
    after: [pointId],
    look: async (signal) => {
      const cells = await runMatrix(context, signal, cellsOf(context, shadow));
      const failed = cells.filter(({ passed }) => !passed).map(({ id, message }) => `${id}: ${message}`);
      if (failed.length === 0) return { cells: cells.map(({ id }) => id) };
      const back = await turn(shadow, point, otherOf(to), signal).then(
        () => `it uses the ${wordOf(otherOf(to))} ${name} again`,
        (error: unknown) => `and pointing it back failed: ${messageOf(error)}`,
      );
      throw pointUndone(`${shadow.name} on the ${wordOf(to)} ${name}`, failed, back);
    },
  });
}

/** What a shadow says of itself. Anything but `live` and `copy` means that it is not known. */
export async function pointedTo(shadow: Shadow, { probe, timeout }: Point, signal: AbortSignal) {
  const { stdout } = await mustRemote(await shadow.connect(signal), probe, timeout, signal);
  return stdout.trim();
}

/** The cells of the matrix that a shadow has a part in, and those that users see. */
function cellsOf({ farm }: FarmContext, { box }: Shadow) {
  return expectedCells(farm.spec).filter(
    ({ kind, from, to }) => from === box.name || to === box.name || (kind === "check" && from === OUTSIDE),
  );
}

function notThere(says: string): Reality {
  if (says === "live" || says === "copy") return { state: "absent" };
  return { state: "partial", why: `it says that it uses '${says.slice(0, 40)}'` };
}

async function turn(shadow: Shadow, point: Point, to: PointTarget, signal: AbortSignal): Promise<void> {
  await mustRemote(await shadow.connect(signal), point[to], point.timeout, signal);
}

const otherOf = (to: PointTarget): PointTarget => (to === "live" ? "copy" : "live");

const wordOf = (to: PointTarget): string => (to === "live" ? "live" : "test copy of");

function pointUndone(what: string, failed: readonly string[], back: string): DoppelError {
  const shown = failed.slice(0, MOST_NAMED).join("; ");
  const more = failed.length > MOST_NAMED ? `, and ${failed.length - MOST_NAMED} more` : "";
  return new DoppelError("point-undone", `${what} does not pass its checks, ${back}: ${shown}${more}`, {
    hint: "mend what fails, see 'doppel farm check', and point it again",
    exitCode: EXIT.different,
    details: { failed: [...failed] },
  });
}

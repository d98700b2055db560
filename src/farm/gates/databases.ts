import type { FarmContext } from "../context.ts";
import { engineOf } from "../databases/engines.ts";
import type { FarmDatabase } from "../file/databases.ts";
import { expandId, expandStep } from "../steps/databases/expand.ts";
import type { Expansion } from "../steps/databases/expansion.ts";
import { type Point, pointedTo } from "../steps/databases/point.ts";
import { safetyCopies } from "../steps/databases/records.ts";
import { isYoung, whyUnusable } from "../steps/databases/safety-copy.ts";
import { testCopyId } from "../steps/databases/test-copy.ts";
import { isOn } from "../steps/off.ts";
import { lastRun } from "../steps/recorded.ts";
import type { Gate } from "./gate.ts";
import { verdict } from "./verdict.ts";

/** Every statement of a database's migrations is additive, by the database's own parser. */
export function additiveGate({ name }: FarmDatabase, { files }: Expansion): Gate {
  return {
    id: `additive/${name}`,
    title: `the migrations of ${name} are additive`,
    look: async () => {
      const unread = files.filter((one) => !one.verdict).length;
      if (unread > 0) return verdict(`${unread} files were not judged: its language is not known`, []);
      const statements = files.flatMap(({ file, verdict: judged }) =>
        (judged?.statements ?? []).map((statement) => ({ ...statement, file })),
      );
      const refused = statements.filter((statement) => statement.verdict === "refused");
      return verdict(
        `${statements.length} of ${statements.length} statements are`,
        refused.map(
          ({ file, line, statement, reason, alternative }) =>
            `${file}:${line}: ${statement}: ${reason}${alternative === undefined ? "" : `; instead: ${alternative}`}`,
        ),
      );
    },
  };
}

/**
 * There is a safety copy of this database whose restore was rehearsed. `maxAgeMs`: it must be so young, or have been when the
 * expansion was begun that goes on.
 */
export function safetyCopyGate(context: FarmContext, database: FarmDatabase, maxAgeMs?: number): Gate {
  const { name } = database;
  return {
    id: `safety-copy/${name}`,
    title: `there is a safety copy of ${name}, and its restore was rehearsed`,
    look: async () => {
      const entries = context.journal.entries();
      const copy = safetyCopies(entries, name).at(-1);
      const make = `run 'doppel farm databases copy FARM.yaml ${name}'`;
      if (!copy) return verdict("", [`there is none: ${make}`]);
      if (!copy.rehearsed) return verdict("", [`its restore was not rehearsed: ${make}`]);
      const begun = entries.find(
        ({ event, time }) =>
          event.kind === "step-started" && event.step === expandId(name, "live") && time >= copy.begun,
      );
      const asked = begun ? Date.parse(begun.time) : Date.now();
      if (maxAgeMs !== undefined && !isYoung(copy.begun, maxAgeMs, asked))
        return verdict("", [`it is of ${copy.begun}: ${make}`]);
      const wrong = await whyUnusable(context, database, copy);
      return verdict(`${copy.file}, of ${copy.begun}`, wrong === undefined ? [] : [`${wrong}: ${make}`]);
    },
  };
}

/** There is a test copy, made here and whole. */
export function testCopyGate(context: FarmContext, database: FarmDatabase): Gate {
  const { name } = database;
  return {
    id: `test-copy/${name}`,
    title: `there is a test copy of ${name}`,
    look: async () => {
      const made = lastRun(context.journal.entries(), testCopyId(name));
      const make = `run 'doppel farm databases copy FARM.yaml ${name}'`;
      if (!made) return verdict("", [`there is none: ${make}`]);
      if (database.engine === "commands") return verdict("it was made by the file's command", []);
      const copy = await context.databases.copy(database);
      const there = await engineOf(copy).exists(copy);
      return verdict("it is there", there ? [] : [`it is gone: ${make}`]);
    },
  };
}

/** The live database has what the new version needs, of the files as they are now: by its own ledger, or by the command that ran. */
export function expandedGate(context: FarmContext, database: FarmDatabase, expansion: Expansion): Gate {
  const { name } = database;
  return {
    id: `expanded/${name}`,
    title: `the live ${name} is expanded by the migrations as they are now`,
    look: async (signal) => {
      const found = await expandStep(context, database, expansion, "live").probe(signal);
      const expand = `run 'doppel farm databases expand FARM.yaml ${name}'`;
      if (found.state === "partial") return verdict("", [`${found.why}: ${expand}`]);
      return verdict("it is", found.state === "done" ? [] : [`it is not: ${expand}`]);
    },
  };
}

/** What may run on one side only does not run on both: a shadow that uses the live database is a second writer. */
export function oneWriterGate({ machines, farm }: FarmContext, boxes: readonly string[]): Gate {
  return {
    id: `one-writer/${boxes.join(",")}`,
    title: `only one side runs ${farm.spec.off.map(({ name }) => name).join(", ")}`,
    look: async (signal) => {
      const reasons: string[] = [];
      for (const box of farm.spec.boxes.filter(({ name }) => boxes.includes(name))) {
        const shadow = machines.shadow(box);
        const live = machines.live(box);
        for (const thing of farm.spec.off) {
          if (!(await isOn(shadow, thing, signal))) continue;
          if (live.canConnect && !(await isOn(live, thing, signal))) continue;
          reasons.push(`${thing.name} runs on ${shadow.name}: 'doppel farm provision' keeps it off`);
        }
      }
      return verdict("no shadow does what its live machine does, too", reasons);
    },
  };
}

/** Every shadow says of itself that it uses the live database. */
export function pointedGate({ machines }: FarmContext, { name }: FarmDatabase, point: Point): Gate {
  return {
    id: `pointed/${name}`,
    title: `every shadow uses the live ${name}`,
    look: async (signal) => {
      const answers = await Promise.all(
        machines.all().map(async (shadow) => {
          const says = await pointedTo(shadow, point, signal);
          return says === "live" ? [] : [`${shadow.name} uses '${says.slice(0, 40)}'`];
        }),
      );
      return verdict("all do", answers.flat());
    },
  };
}

import { describe, expect, it } from "vitest";
import type { JournalEntry, JournalEvent, Json } from "../../../../../src/farm/journal/entry.ts";
import { isOurCopy, safetyCopies } from "../../../../../src/farm/steps/databases/records.ts";
import { isYoung } from "../../../../../src/farm/steps/databases/safety-copy.ts";

const entries = (...events: JournalEvent[]): JournalEntry[] =>
  events.map((event, index) => ({
    ...{ farm: "shop", sequence: index + 1, previous: "", owner: "", fencing: 1, hash: "" },
    time: `2026-11-25T10:0${index}:00.000Z`,
    event,
  }));

const about = { run: 1, title: "" };
const started = (step: string, inputs: Json): JournalEvent => ({
  ...{ kind: "step-started", ...about, undoes: "", direction: "do" },
  ...{ step, inputs },
});
const done = (step: string, result: Json, by: "run" | "probe", inputs: Json = {}): JournalEvent => ({
  ...{ kind: "step-done", ...about, direction: "do" },
  ...{ step, inputs, result, by },
});
const undone = (step: string, inputs: Json): JournalEvent => ({
  ...{ kind: "step-done", ...about, direction: "undo", by: "run", result: null },
  ...{ step, inputs },
});

describe("the safety copies of a database", () => {
  const step = "database/orders/safety-copy";
  const copy = { file: "/copies/orders.dump", bytes: 10, sha256: "ab", seconds: 1 };

  it("are those that were made, with the time when they were begun; what cannot be read is none", () => {
    const journal = entries(
      started(step, {}),
      done(step, { ...copy, rehearsal: { seconds: 1 } }, "run"),
      done(step, copy, "probe"),
      done("database/stock/safety-copy", copy, "run"),
      started(step, {}),
      done(step, { file: 7 }, "run"),
    );
    expect(safetyCopies(journal, "orders")).toMatchObject([
      { file: copy.file, begun: "2026-11-25T10:00:00.000Z", rehearsed: true },
    ]);
  });

  it("are young for a time; one from the future is not", () => {
    const begun = "2026-11-25T10:00:00.000Z";
    const now = Date.parse(begun);
    expect([0, 1000, 1001, -1].map((age) => isYoung(begun, 1000, now + age))).toEqual([
      ...[true, true, false, false],
    ]);
  });
});

describe("a database where a test copy would go", () => {
  const step = "database/orders/test-copy";
  const here = { copy: "postgres://u@h:5432/orders_doppel_copy" };
  const there = { copy: "postgres://u@h:5432/other" };

  it.each<[string, JournalEvent[], boolean]>([
    ["nobody began a copy in is not ours", [], false],
    ["a copy was begun in is ours", [started(step, here)], true],
    ["a copy was begun beside is not ours", [started(step, there)], false],
    ["the copy was dropped from is not ours any more", [started(step, here), undone(step, here)], false],
    ["stays ours when another copy is dropped", [started(step, here), undone(step, there)], true],
    [
      "a copy was made in again is ours",
      [started(step, here), undone(step, here), started(step, here)],
      true,
    ],
  ])("that %s", (_, events, ours) => {
    expect(isOurCopy(entries(...events), step, here.copy)).toBe(ours);
  });
});

import { describe, expect, it, vi } from "vitest";
import { DoppelError } from "../../../../src/errors.ts";
import { entryHash, type JournalEvent } from "../../../../src/farm/journal/entry.ts";
import { FarmLease } from "../../../../src/farm/journal/lease.ts";
import { foldJournal, isFresh, unfinishedRun } from "../../../../src/farm/journal/state.ts";
import { TestCatalog } from "../catalog.ts";

const NOTE: JournalEvent = { kind: "gate", run: 1, gate: "evidence", passed: true, message: "all is green" };

function written(test: TestCatalog, count: number): void {
  using lease = FarmLease.take(test.journal);
  for (let i = 0; i < count; i++) lease.append(NOTE);
}

describe("the journal", () => {
  it("chains every entry to the one before, and says so", () => {
    using test = new TestCatalog();
    written(test, 5);
    const entries = test.journal.entries();
    for (const [index, entry] of entries.entries())
      if (index > 0) expect(entry.previous).toBe(entries[index - 1]?.hash);
    expect(test.journal.verify()).toEqual({ farm: "shop", entries: 5, head: entries[4]?.hash, findings: [] });
  });

  it.each([
    [
      "a changed word",
      "UPDATE farm_entries SET body = replace(body, 'green', 'grey!') WHERE sequence = 3",
      3,
    ],
    ["a removed entry", "DELETE FROM farm_entries WHERE sequence = 3", 3],
    ["entries cut off the end", "DELETE FROM farm_entries WHERE sequence > 3", 4],
    ["an entry out of its place", "UPDATE farm_entries SET sequence = 9 WHERE sequence = 2", 2],
  ])("shows %s", (_what, sql, where) => {
    using test = new TestCatalog();
    written(test, 5);
    test.catalog.database.exec(sql);
    expect(test.journal.verify().findings[0]?.sequence).toBe(where);
  });

  it("shows an entry whose own hash was made to fit, at the one that follows", () => {
    using test = new TestCatalog();
    written(test, 5);
    const { database } = test.catalog;
    const row = database.prepare("SELECT body FROM farm_entries WHERE sequence = 3").get() as {
      body: string;
    };
    const body = row.body.replace("green", "grey!");
    database
      .prepare("UPDATE farm_entries SET body = ?, hash = ? WHERE sequence = 3")
      .run(body, entryHash(body));
    expect(test.journal.verify().findings).toMatchObject([{ sequence: 4 }]);
  });

  it("shows that it was written anew, to who kept its head", () => {
    using test = new TestCatalog();
    written(test, 3);
    const kept = test.journal.verify().head;
    expect(test.journal.verify(kept).findings).toEqual([]);
    test.catalog.database.exec("DELETE FROM farm_entries; DELETE FROM farms");
    written(test, 3);
    expect(test.journal.verify().findings).toEqual([]);
    expect(test.journal.verify(kept).findings).toMatchObject([{ message: expect.stringContaining(kept) }]);
  });
});

describe("the lease of a farm", () => {
  const at = (ms: number) => ({ now: () => ms });

  it("keeps a second operator out, and tells who acts since when", () => {
    using test = new TestCatalog();
    using _first = FarmLease.take(test.journal, { owner: "ann@ops", ...at(1_000) });
    expect(() => FarmLease.take(test.journal, { owner: "bob@ops", ...at(2_000) })).toThrow(
      expect.objectContaining({
        code: "farm-busy",
        exitCode: 3,
        message: "ann@ops has acted on the farm shop since 1970-01-01T00:00:01.000Z",
      }),
    );
  });

  it("is taken over once it has expired, with a higher number; the one before can write no more", () => {
    using test = new TestCatalog();
    using first = FarmLease.take(test.journal, { owner: "ann@ops", leaseMs: 60_000, ...at(0) });
    first.append(NOTE);
    expect(() => FarmLease.take(test.journal, at(59_999))).toThrow("ann@ops");
    using second = FarmLease.take(test.journal, { owner: "bob@ops", ...at(60_000) });
    expect(second.fencing).toBe(first.fencing + 1);
    expect(() => first.append(NOTE)).toThrow(
      expect.objectContaining({
        code: "farm-lease-lost",
        exitCode: 3,
        message: expect.stringContaining("bob@ops"),
      }),
    );
    expect(first.signal.aborted).toBe(true);
    expect(first.renew()).toBe(false);
    second.append(NOTE);
    const events = test.journal.entries().map(({ event, fencing }) => [event.kind, fencing]);
    expect(events).toEqual([
      ["gate", 1],
      ["lease-taken-over", 2],
      ["gate", 2],
    ]);
    expect(test.journal.verify().findings).toEqual([]);
  });

  it("can be prolonged by its holder also after it has expired, when nobody has taken over", () => {
    using test = new TestCatalog();
    let now = 0;
    using lease = FarmLease.take(test.journal, { leaseMs: 1_000, now: () => now });
    now = 5_000;
    expect(lease.renew()).toBe(true);
    expect(() => FarmLease.take(test.journal, at(5_500))).toThrow("has acted");
  });

  it("of a process that is dead is taken over at once", () => {
    using test = new TestCatalog();
    FarmLease.take(test.journal, { owner: "killed@ops" });
    test.catalog.database.exec("UPDATE farms SET pid = 4194303");
    using lease = FarmLease.take(test.journal);
    expect(lease.fencing).toBe(2);
  });

  it("does not go back to a lower number when it was released", () => {
    using test = new TestCatalog();
    FarmLease.take(test.journal)[Symbol.dispose]();
    using lease = FarmLease.take(test.journal);
    expect(lease.fencing).toBe(2);
  });
});

describe("on a full disk", () => {
  /** No further page can be written. */
  const fill = ({ catalog }: TestCatalog) => catalog.database.pragma("max_page_count = 1");
  const long: JournalEvent = { ...NOTE, message: "green ".repeat(2000) };

  it("the journal says so, and has nothing written by halves", () => {
    using test = new TestCatalog();
    using lease = FarmLease.take(test.journal);
    lease.append(NOTE);
    fill(test);
    expect(() => lease.append(long)).toThrow(
      expect.objectContaining({
        code: "ENOSPC",
        message: expect.stringContaining("no space left for the catalog"),
      }),
    );
    expect(test.journal.verify()).toMatchObject({ entries: 1, findings: [] });
  });

  it("the lease runs on without being prolonged, and ends with the process", () => {
    vi.useFakeTimers();
    try {
      using test = new TestCatalog();
      const full = new DoppelError("ENOSPC", "no space left for the catalog");
      const lease = FarmLease.take(test.journal, { owner: "ann@ops" });
      const transaction = vi.spyOn(test.journal, "transaction").mockImplementation(() => {
        throw full;
      });
      vi.advanceTimersByTime(40_000);
      expect(transaction).toHaveBeenCalledTimes(2);
      expect(lease.signal.aborted).toBe(false);
      lease[Symbol.dispose]();
      transaction.mockRestore();
      expect(test.journal.holder()?.owner).toBe("ann@ops");
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("what the journal says", () => {
  it("knows the run that was killed, and the newest result of each check", () => {
    using test = new TestCatalog();
    using lease = FarmLease.take(test.journal);
    const file = { path: "/farm.yaml", digest: "sha256:0" };
    const { sequence: run } = lease.append({
      kind: "run-started",
      flow: "provision",
      arguments: {},
      file,
      resumes: null,
    });
    expect(unfinishedRun(foldJournal(test.journal.entries()))).toMatchObject({ run, flow: "provision" });
    lease.append({ kind: "run-ended", run, outcome: "failed", error: { code: "x", message: "y" } });
    expect(unfinishedRun(foldJournal(test.journal.entries()))).toMatchObject({ run, outcome: "failed" });
    lease.append({ kind: "run-ended", run, outcome: "done", error: null });
    expect(unfinishedRun(foldJournal(test.journal.entries()))).toBeUndefined();
    const cell = { id: "a", kind: "tcp", from: "web1", to: "web2", message: "", latencyMs: 1, time: "" };
    for (const passed of [false, true]) lease.append({ kind: "evidence", run, cells: [{ ...cell, passed }] });
    expect(foldJournal(test.journal.entries()).evidence).toMatchObject([{ id: "a", passed: true }]);
  });

  it.each([
    [0, true],
    [900_000, true],
    [900_001, false],
    [-1, false],
  ])("a check that passed %d ms ago is fresh: %s", (ageMs, fresh) => {
    const now = Date.parse("2026-11-24T12:00:00Z");
    const time = new Date(now - ageMs).toISOString();
    const cell = { id: "a", kind: "tcp", from: "", to: "", message: "", latencyMs: null, passed: true, time };
    expect(isFresh(cell, now, 900_000)).toBe(fresh);
    expect(isFresh({ ...cell, passed: false }, now, 900_000)).toBe(false);
  });
});

import { describe, expect, it } from "vitest";
import type { FarmContext } from "../../../../src/farm/context.ts";
import { oldSideGate } from "../../../../src/farm/gates/old-side.ts";
import type { JournalEvent } from "../../../../src/farm/journal/entry.ts";
import { FarmLease } from "../../../../src/farm/journal/lease.ts";
import { TestCatalog } from "../catalog.ts";

const step = (id: string): JournalEvent => ({
  kind: "step-started",
  run: 1,
  step: id,
  title: id,
  direction: "do",
  inputs: null,
  undoes: "",
});
const run = (flow: string): JournalEvent => ({
  kind: "run-started",
  flow,
  arguments: {},
  file: { path: "farm.yaml", digest: "sha256:0" },
  resumes: null,
});
const ended = (number: number, outcome: "done" | "failed"): JournalEvent => ({
  kind: "run-ended",
  run: number,
  outcome,
  error: null,
});

const SWITCHED = step("switch/routers");
const STOPPED = step("clean/stop/web1");

describe("the gate of a rollback", () => {
  it.each<[string, JournalEvent[], boolean]>([
    ["nothing happened yet", [], true],
    ["users were led to the new version", [SWITCHED], true],
    [
      "the removal of the old version has not come further than the routers",
      [SWITCHED, run("clean"), ended(2, "failed")],
      true,
    ],
    ["an old machine was shut down, whatever came then", [SWITCHED, STOPPED], false],
    [
      "the removal came to its end, although no machine was libvirt's",
      [SWITCHED, run("clean"), ended(2, "done")],
      false,
    ],
    [
      "the next upgrade has switched since",
      [SWITCHED, STOPPED, run("clean"), ended(3, "done"), SWITCHED],
      true,
    ],
  ])("when %s", async (_, events, open) => {
    using test = new TestCatalog();
    using lease = FarmLease.take(test.journal);
    for (const event of events) lease.append(event);
    const gate = oldSideGate({ journal: test.journal } as unknown as FarmContext);
    const { passed } = await gate.look(new AbortController().signal);
    expect(passed).toBe(open);
  });
});

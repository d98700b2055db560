import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Json } from "../../../../src/farm/journal/entry.ts";
import { FarmLease } from "../../../../src/farm/journal/lease.ts";
import { lookingStep } from "../../../../src/farm/steps/recorded.ts";
import { TestCatalog } from "../catalog.ts";

describe("a step that only the journal knows of", () => {
  let test: TestCatalog;
  let lease: FarmLease;
  const signal = new AbortController().signal;

  beforeEach(() => {
    test = new TestCatalog();
    lease = FarmLease.take(test.journal);
  });
  afterEach(() => {
    lease[Symbol.dispose]();
    test[Symbol.dispose]();
  });

  const started = (step: string) =>
    lease.append({
      ...{ kind: "step-started", run: 1, title: "", inputs: {}, undoes: "" },
      ...{ step, direction: "do" },
    });
  const ended = (step: string, inputs: Json, by: "run" | "probe" = "run", direction: "do" | "undo" = "do") =>
    lease.append({ kind: "step-done", run: 1, title: "", step, inputs, by, direction, result: "seen" });
  /** As a later process finds it. */
  const found = async (inputs: Json = { digest: "a" }) => {
    const look = async () => "seen";
    return (
      await lookingStep(test.journal, { id: "look", title: "", inputs, after: ["before"], look }).probe(
        signal,
      )
    ).state;
  };

  it("is done once it ran with the same inputs", async () => {
    expect(await found()).toBe("absent");
    ended("look", { digest: "a" });
    expect(await found()).toBe("done");
    expect(await found({ digest: "b" })).toBe("absent");
  });

  it("is to be done again after a step that it stands on ran again, not when that was found as it was", async () => {
    ended("look", { digest: "a" });
    ended("before", {}, "probe");
    expect(await found()).toBe("done");
    ended("before", {});
    expect(await found()).toBe("absent");
  });

  it("is to be done again when it was begun and not ended, or undone", async () => {
    ended("look", { digest: "a" });
    started("look");
    expect(await found()).toBe("absent");
    ended("look", { digest: "a" });
    ended("look", { digest: "a" }, "run", "undo");
    expect(await found()).toBe("absent");
  });
});

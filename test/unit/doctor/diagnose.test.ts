import { describe, expect, it } from "vitest";
import { mainJobsPossible } from "../../../src/doctor/diagnose.ts";
import type { Diagnosis } from "../../../src/doctor/probe.ts";

const probe = (outcome: Diagnosis["outcome"], optional: boolean): Diagnosis => ({
  ...{ name: "x", neededFor: "y", what: "z", outcome, optional },
});

describe("the verdict of doctor", () => {
  it("is that the main jobs work unless something is missing that they need", () => {
    expect(mainJobsPossible([probe("ok", false), probe("missing", true), probe("degraded", false)])).toBe(
      true,
    );
    expect(mainJobsPossible([probe("ok", false), probe("missing", false)])).toBe(false);
  });
});

import { describe, expect, it } from "vitest";
import type { StepState } from "../../../src/farm/journal/state.ts";
import { changedInputs } from "../../../src/farm/plan.ts";

describe("what changed since a step was done", () => {
  const earlier = (state: StepState["state"]): StepState => ({
    step: "box/web1/shadow",
    title: "",
    state,
    time: "",
    inputs: { image: "web:1", networks: ["default"], cpus: 2 },
    result: null,
  });

  it("is named by input", () => {
    expect(changedInputs(earlier("done"), { image: "web:2", networks: ["default"], memory: 1 })).toEqual([
      ...["image", "cpus", "memory"],
    ]);
    expect(changedInputs(earlier("done"), { image: "web:1", networks: ["default"], cpus: 2 })).toEqual([]);
  });

  it("is nothing of a step that was not done", () => {
    for (const state of ["undone", "begun", "failed"] as const)
      expect(changedInputs(earlier(state), { image: "web:2" })).toEqual([]);
    expect(changedInputs(undefined, { image: "web:2" })).toEqual([]);
  });
});

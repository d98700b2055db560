import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  nextStep,
  type Phase,
  type RouterProgress,
  type Step,
} from "../../../../src/farm/routers/together.ts";

const OK: Record<Step["act"], Phase> = {
  prepare: "prepared",
  commit: "committed",
  repair: "committed",
  restore: "restored",
  abandon: "abandoned",
};
const BAD: Record<Step["act"], Phase> = {
  prepare: "refused",
  commit: "failed",
  repair: "unrepaired",
  restore: "lost",
  abandon: "abandoned",
};

/** Plays a change; `fails` says which acts on which router fail. Returns the outcome, the phases and all acts. */
function play(count: number, leadsBack: boolean, fails: (router: string, act: Step["act"]) => boolean) {
  const progress: RouterProgress[] = Array.from({ length: count }, (_, at) => ({
    router: `r${at}`,
    phase: "waiting",
  }));
  const acts: string[] = [];
  for (let steps = 0; steps < 10; steps++) {
    const step = nextStep(progress, leadsBack);
    if (typeof step === "string") return { outcome: step, phases: progress.map(({ phase }) => phase), acts };
    for (const name of step.routers) {
      acts.push(`${step.act} ${name}`);
      const entry = progress.find(({ router }) => router === name);
      if (entry) entry.phase = (fails(name, step.act) ? BAD : OK)[step.act];
    }
  }
  throw new Error("it does not end");
}

const faults = fc.uniqueArray(
  fc.tuple(
    fc.integer({ min: 0, max: 3 }),
    fc.constantFrom<Step["act"]>("prepare", "commit", "repair", "restore"),
  ),
);

describe("a change of several routers", () => {
  it("ends with all changed, or all as they were, or says that they disagree", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), faults, (count, planned) => {
        const fails = (router: string, act: string) =>
          planned.some(([at, what]) => `r${at}` === router && what === act);
        const { outcome, phases, acts } = play(count, false, fails);
        const all = (...wanted: Phase[]) => phases.every((phase) => wanted.includes(phase));
        if (outcome === "changed") expect(all("committed")).toBe(true);
        if (outcome === "refused") expect(acts.filter((act) => act.startsWith("commit"))).toEqual([]);
        if (outcome === "put-back") expect(all("restored")).toBe(true);
        if (outcome === "disagree") expect(phases).toContain("lost");
      }),
    );
  });

  it("that leads back is made wherever it can be, and nobody is led forward again", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), faults, (count, planned) => {
        const fails = (router: string, act: string) =>
          planned.some(([at, what]) => `r${at}` === router && what === act);
        const { outcome, phases, acts } = play(count, true, fails);
        expect(acts.filter((act) => /^(restore|abandon)/.test(act))).toEqual([]);
        const stuck = phases.map(
          (_, at) => fails(`r${at}`, "repair") && (fails(`r${at}`, "prepare") || fails(`r${at}`, "commit")),
        );
        expect(phases).toEqual(stuck.map((one) => (one ? "unrepaired" : "committed")));
        expect(outcome).toBe(stuck.includes(true) ? "disagree" : "changed");
      }),
    );
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Candidate, keptBy } from "../../../src/store/retention.ts";

/** Local time, as the rules count. */
function at(...[year = 2026, month = 1, day = 1, hour = 12]: number[]): Candidate {
  const created = new Date(year, month - 1, day, hour);
  return { created, digest: `sha256:${created.getTime()}` };
}

const NOW = new Date(2026, 10, 24, 22);

function kept(candidates: readonly Candidate[], rules: Parameters<typeof keptBy>[1]): string[][] {
  const reasons = keptBy(candidates, rules, NOW);
  return candidates.map(({ digest }) => reasons.get(digest) ?? []);
}

describe("retention", () => {
  it("keeps the newest of each day that has any, and counts days, not images", () => {
    const images = [at(2026, 11, 24, 20), at(2026, 11, 24, 8), at(2026, 11, 20, 8), at(2026, 11, 1, 8)];
    expect(kept(images, { daily: 2 })).toEqual([["daily 1"], [], ["daily 2"], []]);
  });

  it("applies each rule on its own: one image can be kept by several", () => {
    const images = [at(2026, 11, 24), at(2026, 11, 23), at(2026, 11, 22), at(2026, 10, 31)];
    expect(kept(images, { last: 1, daily: 2, weekly: 2, monthly: 2 })).toEqual([
      ["last 1", "daily 1", "weekly 1", "monthly 1"],
      ["daily 2"],
      ["weekly 2"],
      ["monthly 2"],
    ]);
  });

  it("lets a week begin on Monday, across the new year, too", () => {
    const images = [at(2027, 1, 3), at(2026, 12, 28), at(2026, 12, 27)];
    expect(kept(images, { weekly: 1 })).toEqual([["weekly 1"], [], []]);
    expect(kept(images.slice(0, 2), { yearly: 2 })).toEqual([["yearly 1"], ["yearly 2"]]);
  });

  it("counts the oldest of all while there are fewer than the rule says", () => {
    const images = [at(2026, 11, 24, 20), at(2026, 11, 24, 12), at(2026, 11, 24, 8)];
    expect(kept(images, { daily: 7 })).toEqual([["daily 1"], [], ["daily 2"]]);
    expect(kept(images, { hourly: 2 })).toEqual([["hourly 1"], ["hourly 2"], []]);
  });

  it("keeps what is young", () => {
    const images = [at(2026, 11, 24), at(2026, 11, 17, 23), at(2026, 11, 17, 21)];
    expect(kept(images, { withinMs: 7 * 86_400_000 })).toEqual([["within"], ["within"], []]);
  });

  it("never keeps fewer when a rule says more, and always the newest", () => {
    const moments = fc.array(fc.integer({ min: 0, max: 60 * 24 * 365 }), { minLength: 1, maxLength: 60 });
    const rule = fc.constantFrom("last", "hourly", "daily", "weekly", "monthly", "yearly");
    fc.assert(
      fc.property(moments, rule, fc.integer({ min: 1, max: 30 }), (minutes, name, count) => {
        const images = minutes.map((minute, index) => ({
          digest: String(index),
          created: new Date(NOW.getTime() - minute * 60_000),
        }));
        const few = keptBy(images, { [name]: count }, NOW);
        const more = keptBy(images, { [name]: count + 1 }, NOW);
        const digests = (reasons: typeof few) =>
          [...reasons].filter(([, why]) => why.length > 0).map(([digest]) => digest);
        expect(digests(few).length).toBeLessThanOrEqual(count);
        for (const digest of digests(few)) expect(digests(more)).toContain(digest);
        const newest = Math.max(...images.map(({ created }) => created.getTime()));
        expect(digests(few).some((digest) => images[Number(digest)]?.created.getTime() === newest)).toBe(
          true,
        );
      }),
    );
  });
});

import { describe, expect, it } from "vitest";
import { AFTER_SWITCH, BEFORE_SWITCH } from "../../../../../src/farm/routers/routing.ts";
import { between, type Interval, type Sample } from "../../../../../src/farm/routers/watch/interval.ts";
import { DEFAULT_LIMITS, judge, ratesOf } from "../../../../../src/farm/routers/watch/verdict.ts";

const BASELINE = { requests: 1000, errorRate: 0.01, clientErrorRate: 0, responseMs: 20 };

function interval(second: number, more: Partial<Interval>): Interval {
  const none = { requests: 0, errors: 0, clientErrors: 0, gone: [], astray: [] };
  return { fromMs: second * 1000, toMs: (second + 1) * 1000, ...none, ...more };
}

const verdictOf = (...intervals: Partial<Interval>[]) =>
  judge(
    BASELINE,
    intervals.map((one, second) => interval(second, one)),
    DEFAULT_LIMITS,
  );

describe("a verdict", () => {
  it("is for a version that does as well as the baseline", () => {
    expect(verdictOf({ requests: 100, errors: 3, responseMs: 60 }).is).toBe("healthy");
    expect(verdictOf({ requests: 100, errors: 4 })).toEqual({
      is: "failing",
      because: "4.0 % of 100 requests failed, 3.0 % are allowed",
    });
  });

  it("has as many digits as tell a share from what is allowed", () => {
    expect(verdictOf({ requests: 995, errors: 30 }).because).toBe(
      "3.02 % of 995 requests failed, 3.00 % are allowed",
    );
  });

  it("needs requests, unless hardly any succeeds", () => {
    expect(verdictOf({ requests: 19, errors: 4 })).toEqual({ is: "undecided", because: "only 19 requests" });
    expect(verdictOf({ requests: 5, errors: 5 }).is).toBe("failing");
    expect(verdictOf({}).is).toBe("undecided");
    expect(judge(BASELINE, [], DEFAULT_LIMITS).is).toBe("undecided");
  });

  it("is about the last seconds: a version that was good for long and fails now is failing", () => {
    const good = Array.from({ length: 60 }, () => ({ requests: 1000 }));
    expect(verdictOf(...good, { requests: 1000, errors: 300 }).is).toBe("failing");
    expect(verdictOf({ requests: 1000, errors: 300 }, ...good).is).toBe("healthy");
  });

  it("looks back further when there are few requests: a slow version answers few", () => {
    const slow = Array.from({ length: 20 }, () => ({ requests: 1, responseMs: 900 }));
    expect(verdictOf(...slow.slice(1)).is).toBe("undecided");
    expect(verdictOf(...slow)).toEqual({
      is: "failing",
      because: "responses take 900 ms on average, 240 ms are allowed",
    });
  });

  it("sees responses that became 404", () => {
    expect(verdictOf({ requests: 100, clientErrors: 30 }).because).toContain("status 4xx");
  });

  it("tells routers that are gone or astray", () => {
    expect(verdictOf({ requests: 50, astray: ["a: live → old"] })).toEqual({
      is: "astray",
      because: "a: live → old",
    });
    const gone = { gone: ["a"] };
    expect(verdictOf({ requests: 50 }, gone, gone).is).not.toBe("gone");
    expect(verdictOf({ requests: 50 }, gone, gone, gone, gone, gone)).toEqual({
      is: "gone",
      because: "a: no answer for 5.0 s",
    });
  });
});

describe("an interval", () => {
  const sample = (atMs: number, generation: string, requests: number, errors: number): Sample => ({
    atMs,
    gone: [],
    routers: [
      {
        router: "a",
        generation,
        takenAtMs: atMs,
        routing: AFTER_SWITCH,
        sides: {
          old: { requests: 0, errors: 0, clientErrors: 0 },
          new: { requests, errors, clientErrors: 0, responseMs: 10 },
        },
      },
    ],
  });
  const counts = (before: Sample, after: Sample) => {
    const { requests, errors } = between(before, after, "new", AFTER_SWITCH);
    return { requests, errors };
  };

  it("is what the counters grew by", () => {
    expect(counts(sample(0, "1", 100, 5), sample(1, "1", 150, 6))).toEqual({ requests: 50, errors: 1 });
  });

  it("is all that a new process has counted, and what was counted after the counters were cleared", () => {
    expect(counts(sample(0, "1", 100, 5), sample(1, "2", 150, 6))).toEqual({ requests: 150, errors: 6 });
    expect(counts(sample(0, "1", 100, 5), sample(1, "1", 30, 1))).toEqual({ requests: 30, errors: 1 });
  });

  it("tells a router that does not do what it should, and ignores one that was not seen before", () => {
    const [now] = [sample(1, "1", 150, 6)];
    expect(between(sample(0, "1", 0, 0), now, "new", BEFORE_SWITCH).astray).toEqual([
      "a: live → new, shadow → old",
    ]);
    expect(counts({ atMs: 0, gone: [], routers: [] }, now)).toEqual({ requests: 0, errors: 0 });
  });

  it("adds up to rates", () => {
    const one = between(sample(0, "1", 0, 0), sample(1, "1", 30, 3), "new", AFTER_SWITCH);
    expect(ratesOf([one, one])).toEqual({
      requests: 60,
      errorRate: 0.1,
      clientErrorRate: 0,
      responseMs: 10,
    });
    expect(ratesOf([])).toEqual({ requests: 0, errorRate: 0, clientErrorRate: 0 });
  });
});

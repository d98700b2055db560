import { describe, expect, it } from "vitest";
import { lossesText, minutesText } from "../../../src/cli/farm-losses-text.ts";

const writes = (rows: number, minutes: number, complete = true) => ({
  since: "2026-11-25T09:12:44.120Z",
  minutes,
  tables: [],
  rows,
  complete,
});
const orders = {
  database: "orders",
  sinceSwitch: null,
  sinceCopy: null,
  copy: { file: "/copies/orders.dump", begun: "2026-11-25T09:12:44.120Z" },
  problem: null,
};

describe("what going back means", () => {
  it("is what remains without a restore beside what a restore loses", () => {
    expect(lossesText([{ ...orders, sinceSwitch: writes(1204, 12), sinceCopy: writes(2310, 37.2) }])).toBe(
      "orders: safe because additive: 1,204 rows written since the switch remain without a restore\n" +
        "orders: a restore loses 38 minutes: 2,310 rows written since 2026-11-25T09:12:44.120Z\n",
    );
  });

  it("is a lower bound where the server does not count every write", () => {
    expect(lossesText([{ ...orders, sinceCopy: writes(1, 0.2, false) }])).toBe(
      "orders: a restore loses 1 minute: at least 1 row written since 2026-11-25T09:12:44.120Z\n",
    );
  });

  it("is not known of a database that cannot be asked, and nothing can be restored without a copy", () => {
    const text = lossesText([
      { ...orders, problem: "no server answers" },
      { ...orders, copy: null },
    ]);
    expect(text).toBe(
      "orders: what was written is not known: no server answers\norders: there is no safety copy to restore\n",
    );
  });

  it.each([
    [0, "0 minutes"],
    [119, "119 minutes"],
    [150, "3 hours"],
    [24 * 60, "1 day and 0 hours"],
    [3 * 24 * 60 - 1, "3 days and 0 hours"],
  ])("is told in words: %d minutes as %s", (minutes, words) => {
    expect(minutesText(minutes)).toBe(words);
  });
});

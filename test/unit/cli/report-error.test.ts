import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { describeError } from "../../../src/cli/report-error.ts";
import { DoppelError } from "../../../src/errors.ts";

describe("an error for people", () => {
  const cause = new Error("the disk is on fire");
  const error = new DoppelError("copy-failed", "the copy of /dev/sda\nstopped", {
    hint: "put it out",
    cause,
  });

  it("is one line: what failed, its code, what to do", () => {
    expect(describeError(error, false)).toBe(
      "doppel: the copy of /dev/sda; stopped [copy-failed] - put it out",
    );
  });

  it("has its causes below when asked for", () => {
    expect(describeError(error, true).split("\n").slice(1)).toEqual(["  because: the disk is on fire"]);
  });

  it("of our own making is marked as such, and can be traced", () => {
    expect(describeError(new TypeError("x is undefined"), false)).toBe("doppel: x is undefined [unexpected]");
    expect(describeError(new TypeError("x is undefined"), true)).toContain("report-error.test.ts");
  });

  it("of the system names the file first, and what is wrong with it", () => {
    const missing = () => readFileSync("/nowhere/farm 'x'.sql");
    let error: unknown;
    try {
      missing();
    } catch (thrown) {
      error = thrown;
    }
    expect(describeError(error, false)).toBe(
      "doppel: /nowhere/farm 'x'.sql: no such file or directory [ENOENT]",
    );
  });

  it("cannot play with the terminal: what another machine said loses its control characters", () => {
    const message = "it said \u001b[2J\u0007boo\u007f";
    expect(describeError(new DoppelError("copy-failed", message), false)).toBe(
      "doppel: it said [2Jboo [copy-failed]",
    );
  });
});

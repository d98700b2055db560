import { expect, it } from "vitest";
import { table } from "../../../src/cli/output.ts";

it("a cell of a table that is very long moves its own row, and no other", () => {
  const long = "x".repeat(200);
  expect(
    table([
      ["to do", "short", "undo: a"],
      ["later", long, "undo: b"],
    ]),
  ).toBe(`to do  ${"short".padEnd(80)}  undo: a\nlater  ${long}  undo: b\n`);
});

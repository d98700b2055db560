import { describe, expect, it } from "vitest";
import { commandLine } from "../../../src/guest/guestfish-client.ts";

describe("a command as a line", () => {
  it("has nothing of its words but letters, digits and what means nothing", () => {
    const line = commandLine("exists", ['/a"b\\c\n-rm-rf "/', "$(x) `y` | z # <! ä\x01", ""]) ?? "";
    expect(line).toMatch(/^-exists(?: "(?:[A-Za-z0-9/_.,:=+-]|\\x[0-9a-f]{2})*"){3}$/);
    const words = [...line.matchAll(/"([^"]*)"/g)].map(([, word = ""]) =>
      Buffer.from(
        word.replace(/\\x(..)/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
        "latin1",
      ),
    );
    expect(words.map(String)).toEqual(['/a"b\\c\n-rm-rf "/', "$(x) `y` | z # <! ä\x01", ""]);
  });

  it("is none when guestfish would take its end for another one, or would not see its end", () => {
    expect(commandLine("exists", ["a\0b"])).toBeUndefined();
    expect(commandLine("exists", ["x".repeat(7000)])).toBeDefined();
    expect(commandLine("exists", ["ä".repeat(4000)])).toBeUndefined();
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatBytes, formatSeconds, parseDuration, parsePercent, parseSize } from "../../src/units.ts";

describe("sizes", () => {
  it.each([
    ["0", 0],
    ["4096", 4096],
    ["50M", 50 * 1024 ** 2],
    ["2GiB", 2 * 1024 ** 3],
    ["1.5k", 1536],
    [" 3 TB ", 3 * 1024 ** 4],
  ])("%j is %d bytes", (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(["", "M", "-1", "1e9", "50 apples", "9999999P", "NaN"])("%j is refused (usage)", (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: "usage", exitCode: 2 }));
  });

  it("are printed in the largest unit that leaves a whole number", () => {
    expect(formatBytes(1023)).toBe("1023 B");
    expect(formatBytes(1024)).toBe("1.0 KiB");
    expect(formatBytes(150 * 1024 ** 2)).toBe("150 MiB");
    expect(formatBytes(16 * 1024 ** 4)).toBe("16.0 TiB");
  });

  it("that are printed can be read, near enough", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        const back = parseSize(formatBytes(bytes));
        expect(Math.abs(back - bytes)).toBeLessThanOrEqual(bytes * 0.05);
      }),
    );
  });
});

describe("durations and percentages", () => {
  it.each([
    ["2s", 2000],
    ["500ms", 500],
    ["10m", 600_000],
    ["1.5h", 5_400_000],
  ])("%j is %d ms", (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(["", "10", "2 weeks", "-1s"])("%j is no duration", (text) => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: "usage" }));
  });

  it("percentages are 1 to 100", () => {
    expect(parsePercent("50%")).toBe(50);
    expect(parsePercent("1")).toBe(1);
    for (const text of ["0", "101%", "half", "-5"]) expect(() => parsePercent(text)).toThrow(/percentage/);
  });

  it("seconds are printed for people", () => {
    expect([4.21, 65, 3 * 3600 + 61].map(formatSeconds)).toEqual(["4.2 s", "1 min 05 s", "3 h 01 min"]);
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { matchesPattern, matchesPatternList } from "../../../src/ssh/host-pattern.ts";

test("a pattern agrees with the same pattern as a regular expression", () => {
  const pattern = fc.string({ unit: fc.constantFrom("a", "b", ".", "*", "?"), maxLength: 8 });
  const text = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 8 });
  fc.assert(
    fc.property(pattern, text, (glob, name) => {
      const source = glob.replaceAll(".", "\\.").replaceAll("*", ".*").replaceAll("?", ".");
      expect(matchesPattern(glob, name)).toBe(new RegExp(`^${source}$`).test(name));
    }),
    { numRuns: 2000 },
  );
});

test("a pattern with many stars does not take for ever", () => {
  expect(matchesPattern(`${"*a".repeat(50)}b`, "a".repeat(5000))).toBe(false);
});

test("a negated pattern wins wherever it stands", () => {
  expect(matchesPatternList(["*.example", "!db.example"], "web.example")).toBe(true);
  expect(matchesPatternList(["*.example", "!db.example"], "db.example")).toBe(false);
  expect(matchesPatternList(["!db.example", "*.example"], "db.example")).toBe(false);
  expect(matchesPatternList(["!db.example"], "web.example")).toBe(false);
});

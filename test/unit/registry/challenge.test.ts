import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseChallenges } from "../../../src/registry/challenge.ts";

describe("a WWW-Authenticate header", () => {
  it("of a token server is read with its parameters", () => {
    const header =
      'Bearer realm="https://auth.example.org/token",service="registry", scope="repository:a/b:pull,push"';
    expect(parseChallenges(header)).toEqual([
      {
        scheme: "bearer",
        parameters: {
          realm: "https://auth.example.org/token",
          service: "registry",
          scope: "repository:a/b:pull,push",
        },
      },
    ]);
  });

  it("may hold several challenges, words without quotes, and quotes in quotes", () => {
    expect(parseChallenges('Basic realm=here, Negotiate, Digest realm="a \\"b\\"", qop=auth')).toEqual([
      { scheme: "basic", parameters: { realm: "here" } },
      { scheme: "negotiate", parameters: {} },
      { scheme: "digest", parameters: { realm: 'a "b"', qop: "auth" } },
    ]);
  });

  it("whatever it holds, is read to an end, and sets nothing but its own parameters", () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom("Bearer", " ", ",", "=", '"', "\\", "realm", "__proto__", "constructor", "\u0000"),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        for (const { scheme, parameters } of parseChallenges(pieces.join(""))) {
          expect(scheme).toBe(scheme.toLowerCase());
          expect(Object.getPrototypeOf(parameters)).toBeNull();
        }
      }),
      { numRuns: 2000 },
    );
    expect(parseChallenges("a=b, ".repeat(100_000))).toHaveLength(1);
    expect(parseChallenges('Bearer realm="'.repeat(10_000)).length).toBeGreaterThan(0);
  });
});

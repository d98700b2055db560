import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatReference, parseReference } from "../../../src/image/reference.ts";
import { parseChallenges } from "../../../src/registry/challenge.ts";
import { acceptOrRefuse, cases, mutated, TIME_LIMIT_MS } from "./cases.ts";

const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;

describe("a reference", () => {
  it("is read as what it is written as again, leads out of no folder, or is refused", {
    timeout: TIME_LIMIT_MS,
  }, () => {
    const valid = [
      "web1",
      "site/web1:monday",
      `registry.example.org:5000/site/web1:v1.2_3@${DIGEST}`,
      `[::1]:5000/a/b@${DIGEST}`,
    ];
    const text = fc.oneof(
      ...valid.map((one) => mutated(Buffer.from(one)).map((bytes) => bytes.toString("latin1"))),
      fc
        .array(
          fc.constantFrom("..", "/", ":", "@", "a", "A", "-", "_", ".", "%2f", "\\", "localhost", "\u0000"),
        )
        .map((words) => words.join("")),
    );
    fc.assert(
      fc.property(text, (word) => {
        const reference = acceptOrRefuse(() => parseReference(word));
        if (!reference) return;
        expect(parseReference(formatReference(reference))).toEqual(reference);
        expect(reference.name.split("/").some((part) => part === "" || part.startsWith("."))).toBe(false);
        expect(new URL(`https://h/v2/${reference.name}/blobs`).pathname).toBe(`/v2/${reference.name}/blobs`);
      }),
      cases(5000),
    );
  });

  it("of any length is refused in good time", () => {
    const started = performance.now();
    for (const word of [
      "a".repeat(1_000_000),
      "a-".repeat(500_000),
      "a/".repeat(500_000),
      `a.${"-".repeat(1_000_000)}.b/c`,
      "a__".repeat(300_000),
    ])
      acceptOrRefuse(() => parseReference(word));
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe("a registry's challenge", () => {
  it("is read to its end in good time, whatever it is", { timeout: TIME_LIMIT_MS }, () => {
    const valid =
      'Bearer realm="https://auth.example.org/token",service="r \\" r",scope="repository:a/b:pull", Basic realm=x';
    fc.assert(
      fc.property(mutated(Buffer.from(valid)), (bytes) => {
        for (const { scheme, parameters } of parseChallenges(bytes.toString("latin1"))) {
          expect(scheme).toMatch(/^[!#$%&'*+.^_`|~0-9a-z-]+$/);
          expect(Object.getPrototypeOf(parameters)).toBeNull();
        }
      }),
      cases(5000),
    );
    const started = performance.now();
    for (const text of [
      '"'.repeat(1_000_000),
      "\\".repeat(1_000_000),
      `a b="${"\\\\".repeat(500_000)}`,
      "a=".repeat(500_000),
      "a ".repeat(500_000),
    ])
      parseChallenges(text);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

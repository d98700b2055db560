import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import fc from "fast-check";
import { DoppelError } from "../../../src/errors.ts";

/** How many times as long as in a usual run; CONTRIBUTING.md. */
const FACTOR = Number(process.env.DOPPEL_FUZZ ?? "1");

/** Options of a property that is tried with `runs` cases, and DOPPEL_FUZZ times as many when that is set. */
export function cases(runs: number): { numRuns: number; seed?: number } {
  // The usual run tries the same cases everywhere; a long one is for finding new ones.
  return FACTOR === 1 ? { numRuns: runs, seed: 20_261_124 } : { numRuns: runs * FACTOR };
}

/** Milliseconds that a test may take. */
export const TIME_LIMIT_MS = 30_000 * FACTOR;

const documented = new Set(
  [
    ...readFileSync(resolve(import.meta.dirname, "../../../docs/errors.md"), "utf8").matchAll(/`([a-z-]+)`/g),
  ].map(([, code]) => code),
);

/** The value of a parser, or undefined when it refused with an error of the table; anything else fails the test. */
export function acceptOrRefuse<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    return refused(error);
  }
}

/** The same of one that is asynchronous. */
export async function acceptOrRefuseLater<T>(parse: () => Promise<T>): Promise<T | undefined> {
  try {
    return await parse();
  } catch (error) {
    return refused(error);
  }
}

function refused(error: unknown): undefined {
  if (error instanceof DoppelError && documented.has(error.code)) return undefined;
  throw error;
}

const NUMBERS = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** What happens to bytes, at a place that is a share of their length. */
const change = fc.oneof(
  fc.record({ kind: fc.constant("set" as const), at: fc.nat(65_535), value: fc.nat(255) }),
  fc.record({ kind: fc.constant("number" as const), at: fc.nat(65_535), value: fc.constantFrom(...NUMBERS) }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat(65_535), value: fc.nat(300) }),
  fc.record({ kind: fc.constant("insert" as const), at: fc.nat(65_535), value: fc.nat(300) }),
  fc.record({ kind: fc.constant("end" as const), at: fc.nat(65_535), value: fc.constant(0) }),
);

/** A valid document with some bytes changed, cut out, put in, or missing at its end; sometimes anything at all. */
export function mutated(valid: Buffer): fc.Arbitrary<Buffer> {
  const changed = fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
    let bytes = Buffer.from(valid);
    for (const { kind, at, value } of changes) {
      // The two ends of a binary document say most about it: half of the changes are there.
      const place = at % 2 === 0 ? at % 64 : bytes.length - 1 - (at % 64);
      const offset = Math.max(0, at % 4 < 2 ? place : Math.floor((at / 65_536) * bytes.length));
      if (kind === "set" && offset < bytes.length) bytes[offset] = value;
      if (kind === "number" && offset + 4 <= bytes.length) bytes.writeUInt32LE(value, offset);
      if (kind === "cut") bytes = Buffer.concat([bytes.subarray(0, offset), bytes.subarray(offset + value)]);
      if (kind === "insert")
        bytes = Buffer.concat([
          bytes.subarray(0, offset),
          Buffer.alloc(value, value),
          bytes.subarray(offset),
        ]);
      if (kind === "end") bytes = bytes.subarray(0, offset);
    }
    return bytes;
  });
  const anything = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
  return fc.oneof({ weight: 9, arbitrary: changed }, { weight: 1, arbitrary: anything });
}

/** Values that do not belong where they come to stand. */
const HOSTILE_VALUES: readonly unknown[] = [
  ...[null, true, "", 0, -1, 1.5, 1e308, Number.MAX_SAFE_INTEGER + 2, [], {}, [[]], [null], { length: -1 }],
  ...["../../etc/passwd", "/etc/passwd", "sha256:", `sha256:${"g".repeat(64)}`, `sha256:${"A".repeat(64)}`],
  ...["\u0000", "\u001b[2J", "a".repeat(100_000), "__proto__", "constructor", "\ud800"],
  Array.from({ length: 3000 }, () => ({})),
];

/** A valid JSON document of which some values are others, are missing, or have other names; or whose bytes are changed. */
export function mutatedJson(valid: unknown): fc.Arbitrary<Buffer> {
  const edit = fc.record({
    path: fc.array(fc.nat(), { minLength: 1, maxLength: 6 }),
    kind: fc.constantFrom("replace" as const, "remove" as const, "rename" as const, "repeat" as const),
    value: fc.constantFrom(...HOSTILE_VALUES),
  });
  const edited = fc.array(edit, { minLength: 1, maxLength: 3 }).map((edits) => {
    const document: unknown = structuredClone(valid);
    for (const one of edits) apply(document, one);
    return Buffer.from(JSON.stringify(document));
  });
  return fc.oneof(
    { weight: 3, arbitrary: edited },
    { weight: 1, arbitrary: mutated(Buffer.from(JSON.stringify(valid))) },
  );
}

interface Edit {
  path: readonly number[];
  kind: "replace" | "remove" | "rename" | "repeat";
  value: unknown;
}

/** Walks down by the path as far as it goes, and changes the member that it ends at. */
function apply(document: unknown, { path, kind, value }: Edit): void {
  let holder = document as Record<string, unknown>;
  for (const [depth, step] of path.entries()) {
    const keys = Object.keys(holder);
    const key = keys[step % Math.max(keys.length, 1)];
    if (key === undefined) return;
    const member = holder[key];
    const last = depth === path.length - 1 || typeof member !== "object" || member === null;
    if (!last) {
      holder = member as Record<string, unknown>;
      continue;
    }
    if (kind === "remove") delete holder[key];
    else if (kind === "rename")
      Object.defineProperty(holder, String(value).slice(0, 50), {
        value: member,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    else if (kind === "repeat" && Array.isArray(holder))
      holder.push(structuredClone(member), structuredClone(member));
    else holder[key] = structuredClone(value);
    return;
  }
}

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseReference } from "../../../src/image/reference.ts";
import { type ChannelStep, previousOf } from "../../../src/store/channels.ts";
import { collectGarbage, holdsOf } from "../../../src/store/gc.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { pruneImages } from "../../../src/store/prune.ts";
import {
  lastVerification,
  recordVerification,
  recordVerifications,
} from "../../../src/store/verifications.ts";
import { declareChannel, promote, undoPromotion } from "../../../src/trust/promote.ts";
import { seal } from "./sealed-image.ts";

const CHANNEL = parseReference("base:stable");

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-store-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

/** A store with `base:stable` moved from the first to the second of two images. */
async function promoted(): Promise<{ store: ImageStore; one: string; two: string }> {
  const store = await ImageStore.open(home);
  declareChannel(store, CHANNEL, { requires: ["verified"], keys: [] });
  const digests: string[] = [];
  for (const [name, bytes] of [["one", 65_536] as const, ["two", 131_072] as const]) {
    const image = await seal(store, name, bytes);
    const at = new Date().toISOString();
    recordVerification(store.catalog, image.digest, { at, result: "whole", frames: 0, bytes: 0 });
    await promote(store, image, { source: parseReference(name), channel: CHANNEL, dryRun: false });
    digests.push(image.digest);
  }
  return { store, one: digests[0] ?? "", two: digests[1] ?? "" };
}

describe("a channel", () => {
  it("keeps the image that an undo goes back to, although it has no name any more", async () => {
    const { store, one } = await promoted();
    await using _ = store;
    for (const name of ["one", "two"]) store.untag(parseReference(name));
    expect(await collectGarbage(store, { dryRun: false, graceMs: 0 })).toMatchObject({ images: [] });
    expect(holdsOf(store, one)).toEqual([{ kind: "channel", by: "base:stable" }]);
    expect(await undoPromotion(store, CHANNEL)).toMatchObject({ digest: one });
    expect((await store.resolve(CHANNEL)).digest).toBe(one);
    await expect(undoPromotion(store, CHANNEL)).rejects.toMatchObject({ code: "channel-undo", exitCode: 3 });
  });

  it("is not taken away by retention, which sees the other names", async () => {
    const { store, two } = await promoted();
    await using _ = store;
    store.tag(parseReference("base:friday"), two);
    const options = { rules: { last: 1 }, now: new Date(), dryRun: false, isMeant: () => true };
    await seal(store, "base:saturday", 262_144);
    const decisions = pruneImages(store, options);
    expect(decisions.flatMap(({ name, tags }) => tags.map((tag) => `${name}:${tag}`))).not.toContain(
      "base:stable",
    );
    expect((await store.resolve(CHANNEL)).digest).toBe(two);
  });

  it("takes no sample for a verification, nor one that named others", async () => {
    await using store = await ImageStore.open(home);
    const [one, two] = [await seal(store, "one"), await seal(store, "two", 131_072)];
    const whole = { images: 2, blobs: 6, frames: 0, bytes: 0, sample: null, findings: [], findingCount: 0 };
    const result = (digest: string) => lastVerification(store.catalog, digest)?.result;
    recordVerifications(store.catalog, [one.digest], {
      ...whole,
      sample: { share: 0.05, seed: 1, frameCount: 9 },
    });
    expect(result(one.digest)).toBeUndefined();
    const images = [{ digest: two.digest, names: [] }];
    const finding = { message: "", blob: two.digest, images, hurts: [] };
    const both = [one.digest, two.digest];
    recordVerifications(store.catalog, both, { ...whole, findings: [finding], findingCount: 1 });
    expect(both.map(result)).toEqual(["whole", "differs"]);
    recordVerifications(store.catalog, both, { ...whole, findings: [finding], findingCount: 2 });
    expect(both.map(result)).toEqual(["whole", "differs"]);
  });

  it("does not take an image that was found damaged since it was whole", async () => {
    const { store, one } = await promoted();
    await using _ = store;
    const at = new Date().toISOString();
    recordVerification(store.catalog, one, { at, result: "differs", frames: 0, bytes: 0 });
    const moving = promote(store, await store.load(one), {
      ...{ source: parseReference("one"), channel: CHANNEL, dryRun: false },
    });
    await expect(moving).rejects.toMatchObject({
      code: "channel-checks",
      hint: "doppel images verify one:latest",
    });
  });

  it("and its history outlive a lost catalog", async () => {
    const { store, one, two } = await promoted();
    const steps = store.catalog.channels.steps(CHANNEL);
    await store[Symbol.asyncDispose]();
    for (const file of ["catalog.db", "catalog.db-wal", "catalog.db-shm"])
      rmSync(join(home, file), { force: true });
    await using again = await ImageStore.open(home);
    expect(again.catalog.channels.steps(CHANNEL)).toEqual(steps);
    expect(steps.map(({ action, digest }) => [action, digest])).toEqual([
      ["declare", null],
      ["promote", one],
      ["promote", two],
    ]);
    expect(() => again.tag(CHANNEL, one)).toThrow(expect.objectContaining({ code: "channel-protected" }));
  });

  it("is moved by nothing that makes or takes up an image", async () => {
    const { store, one } = await promoted();
    await using _ = store;
    const refused = expect.objectContaining({ code: "channel-protected", exitCode: 3 });
    expect(() => store.reserveName(CHANNEL)).toThrow(refused);
    expect(() => store.tag(CHANNEL, one)).toThrow(refused);
    expect(() => store.untag(CHANNEL)).toThrow(refused);
    await expect(store.adoptImage(CHANNEL, one)).rejects.toEqual(refused);
    await expect(seal(store, "base:stable", 196_608)).rejects.toEqual(refused);
  });
});

describe("the image before", () => {
  const step = (action: ChannelStep["action"], digest: string | null): ChannelStep => ({
    ...{ action, digest, at: "", by: "", source: "" },
  });
  it.each([
    ["of a channel without one", [step("declare", null)], undefined],
    ["is the one that was there when it was declared", [step("declare", "a"), step("promote", "b")], "a"],
    [
      "is two steps back after an undo",
      [..."abc"].map((d) => step("promote", d)).concat(step("undo", "b")),
      "a",
    ],
    [
      "is what was undone to, after another promotion",
      [step("promote", "a"), step("promote", "b"), step("undo", "a"), step("promote", "c")],
      "a",
    ],
  ])("%s", (_, steps, expected) => {
    expect(previousOf(steps)).toBe(expected);
  });
});

import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseReference } from "../../../src/image/reference.ts";
import { attach } from "../../../src/store/attachments.ts";
import { ImageStore, type StoredImage } from "../../../src/store/image-store.ts";
import { requireTrusted } from "../../../src/trust/require-trusted.ts";
import {
  REVOCATION_TYPE,
  revocationsOf,
  revokeImage,
  undoRevocations,
} from "../../../src/trust/revocation.ts";
import { seal } from "../store/sealed-image.ts";

const { privateKey: key } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const { privateKey: otherKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const options = { why: "a hole in its web server", by: "root@lab" };

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-store-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const use = (store: ImageStore, image: StoredImage, name: string, allowRevoked = false) =>
  requireTrusted(store, image, parseReference(name), { keys: [], allowRevoked });

describe("a revoked image", () => {
  it("is refused with the reason, and so is what was made from it; until that is taken back", async () => {
    await using store = await ImageStore.open(home);
    const parent = await seal(store, "parent");
    const child = await seal(store, "child", 65_536, parent.digest);
    const other = await seal(store, "other", 131_072);
    await revokeImage(store, parent, options);
    const refused = { code: "image-revoked", exitCode: 3, message: expect.stringContaining(options.why) };
    await expect(use(store, parent, "parent")).rejects.toMatchObject(refused);
    await expect(use(store, child, "child")).rejects.toMatchObject(refused);
    expect(await use(store, other, "other")).toEqual({ signedBy: null, revocations: [] });
    expect(await use(store, child, "child", true)).toMatchObject({ revocations: [{ image: parent.digest }] });
    expect(await undoRevocations(store, parent, { ...options, why: "" })).toHaveLength(1);
    expect(await use(store, child, "child")).toMatchObject({ revocations: [] });
    await revokeImage(store, parent, options);
    await expect(use(store, parent, "parent")).rejects.toMatchObject(refused);
  });

  it("whose revocation was signed is given back by that key alone", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    await revokeImage(store, image, { ...options, key });
    const refused = { code: "revocation-signed", exitCode: 3 };
    await expect(undoRevocations(store, image, options)).rejects.toMatchObject(refused);
    await expect(undoRevocations(store, image, { ...options, key: otherKey })).rejects.toMatchObject(refused);
    await undoRevocations(store, image, { ...options, key });
    expect(await revocationsOf(store, image.digest)).toEqual([]);
  });

  it("is not given back by an undo that others wrote and attached", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    await revokeImage(store, image, { ...options, key });
    const [revocation] = await revocationsOf(store, image.digest);
    const undo = {
      version: 1,
      image: image.digest,
      action: "undo",
      revocation: revocation?.digest,
      why: "",
      by: "",
      at: "",
    };
    const content = Buffer.from(JSON.stringify(undo));
    const mediaType = "application/vnd.doppel.revocation.v1+json";
    await attach(store, image, {
      ...{ artifactType: REVOCATION_TYPE, created: "2999-01-01T00:00:00.000Z", annotations: {} },
      files: [{ title: "revocation.json", mediaType, content }],
    });
    expect(await revocationsOf(store, image.digest)).toHaveLength(1);
  });
});

describe("an image whose parts were changed", () => {
  it("is refused: manifest, config or map", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    const { config, layers } = image.manifest;
    for (const digest of [image.digest, config.digest, layers[0]?.digest ?? ""]) {
      const path = store.blobs.pathOf(digest);
      const good = await store.blobs.read(digest, 1_000_000);
      writeFileSync(path, Buffer.concat([good.subarray(0, -1), Buffer.from([(good.at(-1) ?? 0) ^ 1])]));
      const refused = { code: "image-tampered", exitCode: 3, message: expect.stringContaining(digest) };
      await expect(use(store, image, "web1")).rejects.toMatchObject(refused);
      writeFileSync(path, good);
    }
    expect(await use(store, image, "web1")).toMatchObject({ revocations: [] });
  });
});

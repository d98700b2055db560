import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MEDIA_TYPES, SIGNATURE_ANNOTATION } from "../../../src/image/manifest.ts";
import { attach } from "../../../src/store/attachments.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import {
  keyId,
  makeKeyPair,
  readPrivateKey,
  readPublicKey,
  type TrustedKey,
} from "../../../src/trust/keys.ts";
import { buildPayload, parsePayload, signBytes } from "../../../src/trust/payload.ts";
import { goodSignatures, signImage } from "../../../src/trust/signatures.ts";
import { seal } from "../store/sealed-image.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-store-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const nobody = async () => undefined;

async function pair(name: string): Promise<{ secret: KeyObject; key: TrustedKey }> {
  const files = await makeKeyPair(join(home, name), undefined);
  return {
    secret: await readPrivateKey(files.privateKey, nobody),
    key: await readPublicKey(files.publicKey),
  };
}

describe("a signature", () => {
  it("holds for the image and the key it was made with, and for no other", async () => {
    await using store = await ImageStore.open(join(home, "store"));
    const [release, other] = [await pair("release"), await pair("other")];
    const [image, second] = [await seal(store, "one"), await seal(store, "two", 131_072)];
    await signImage(store, image, { key: release.secret, identity: "site/one:latest" });
    expect(await goodSignatures(store, image.digest, [other.key, release.key])).toMatchObject([
      { identity: "site/one:latest", key: { id: keyId(release.secret) } },
    ]);
    expect(await goodSignatures(store, image.digest, [other.key])).toEqual([]);
    expect(await goodSignatures(store, second.digest, [release.key])).toEqual([]);
  });

  it("of another image does not hold, whatever it is attached to", async () => {
    await using store = await ImageStore.open(join(home, "store"));
    const { secret, key } = await pair("release");
    const [image, second] = [await seal(store, "one"), await seal(store, "two", 131_072)];
    const payload = buildPayload({ digest: second.digest, identity: "two:latest" }, new Date());
    const file = { title: "payload.json", mediaType: MEDIA_TYPES.signaturePayload, content: payload };
    const annotations = { [SIGNATURE_ANNOTATION]: signBytes(payload, secret) };
    await attach(store, image, {
      ...{ artifactType: MEDIA_TYPES.signature, created: new Date().toISOString(), annotations: {} },
      files: [{ ...file, annotations }],
    });
    expect(await goodSignatures(store, image.digest, [key])).toEqual([]);
  });

  it("is not hidden by others that are none, too large or without a payload", async () => {
    await using store = await ImageStore.open(join(home, "store"));
    const { secret, key } = await pair("release");
    const image = await seal(store, "one");
    const junk = [Buffer.from("{}"), Buffer.alloc(100_000, 32), Buffer.from("gone")];
    for (const content of junk) {
      const file = { title: "payload.json", mediaType: MEDIA_TYPES.signaturePayload, content };
      const signature = { [SIGNATURE_ANNOTATION]: "%%%" };
      await attach(store, image, {
        ...{ artifactType: MEDIA_TYPES.signature, created: "2999-01-01T00:00:00.000Z", annotations: {} },
        files: [{ ...file, annotations: signature }],
      });
    }
    const { digest } = await store.blobs.put(Buffer.from("gone"));
    rmSync(store.blobs.pathOf(digest));
    await signImage(store, image, { key: secret, identity: "one:latest" });
    expect(await goodSignatures(store, image.digest, [key])).toHaveLength(1);
  });

  it("says nothing in a form that is not understood", () => {
    const good = JSON.parse(buildPayload({ digest: "sha256:1", identity: "a" }, new Date()).toString());
    expect(parsePayload(Buffer.from(JSON.stringify(good)))).toEqual({ digest: "sha256:1", identity: "a" });
    for (const bad of [{}, { ...good, more: 1 }, { ...good, critical: { ...good.critical, type: "atomic" } }])
      expect(parsePayload(Buffer.from(JSON.stringify(bad)))).toBeUndefined();
    expect(parsePayload(Buffer.from("no JSON"))).toBeUndefined();
  });
});

describe("a private key", () => {
  it("is written for its owner alone, and never over another", async () => {
    const files = await makeKeyPair(join(home, "release"), "a word");
    expect(statSync(files.privateKey).mode & 0o777).toBe(0o600);
    await expect(makeKeyPair(join(home, "release"), undefined)).rejects.toMatchObject({
      code: "file-exists",
    });
  });

  it("that others may read is refused", async () => {
    const files = await makeKeyPair(join(home, "release"), undefined);
    chmodSync(files.privateKey, 0o640);
    const reading = readPrivateKey(files.privateKey, nobody);
    await expect(reading).rejects.toMatchObject({ code: "key-exposed", exitCode: 3 });
  });

  it("that is encrypted opens with its passphrase, asked for three times at most", async () => {
    const files = await makeKeyPair(join(home, "release"), "a word");
    const answers = ["wrong", "a word"];
    const key = await readPrivateKey(files.privateKey, async () => answers.shift());
    expect(keyId(key)).toBe(files.id);
    const wrong = readPrivateKey(files.privateKey, async () => "wrong");
    await expect(wrong).rejects.toMatchObject({ code: "key-locked" });
    await expect(readPrivateKey(files.privateKey, nobody)).rejects.toMatchObject({ code: "key-locked" });
  });

  it("of another kind, or in the place of a public one, is refused", async () => {
    const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
    writeFileSync(join(home, "ed.key"), pem, { mode: 0o600 });
    await expect(readPrivateKey(join(home, "ed.key"), nobody)).rejects.toMatchObject({
      code: "key-invalid",
      exitCode: 2,
    });
    await expect(readPublicKey(join(home, "ed.key"))).rejects.toMatchObject({ code: "key-invalid" });
    writeFileSync(join(home, "empty.key"), "", { mode: 0o600 });
    await expect(readPrivateKey(join(home, "empty.key"), nobody)).rejects.toMatchObject({
      code: "key-invalid",
    });
    await expect(readPublicKey(join(home, "no such file"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});

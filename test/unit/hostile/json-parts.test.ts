import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildImageConfig, parseImageConfig } from "../../../src/image/config.ts";
import {
  buildManifest,
  MEDIA_TYPES,
  parseAttachmentManifest,
  parseManifest,
} from "../../../src/image/manifest.ts";
import { findCredentials } from "../../../src/registry/credentials.ts";
import { parseIndex } from "../../../src/registry/referrers.ts";
import { formatLayoutIndex, parseLayoutIndex } from "../../../src/store/layout-index.ts";
import { acceptOrRefuse, acceptOrRefuseLater, cases, mutatedJson, TIME_LIMIT_MS } from "./cases.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const descriptor = (mediaType: string, letter: string) => ({ mediaType, digest: digest(letter), size: 1000 });

const config = buildImageConfig(
  {
    version: 1,
    grade: "frozen",
    host: "web1",
    facts: { os: { id: "debian", prettyName: "Debian" }, nics: [{ mac: "52:54:00:00:00:01" }] },
    disks: [
      {
        ...{
          name: "sda",
          device: "/dev/sda",
          sizeBytes: 1_000_000,
          logicalSectorBytes: 512,
          map: digest("1"),
        },
        ...{
          dataBytes: 65_536,
          readErrors: [{ cluster: 1, offsetBytes: 65_536, lengthBytes: 512, message: "EIO" }],
        },
        regions: [
          { offsetBytes: 0, lengthBytes: 512, kind: "ext4", method: "allocation-map", usedBytes: 512 },
        ],
        changed: [{ offsetBytes: 0, lengthBytes: 65_536 }],
      },
    ],
    lineage: { kind: "convert", parent: digest("2") },
  },
  { architecture: "amd64", created: "2026-01-02T03:04:05.000Z" },
);
const manifest = buildManifest(
  descriptor(MEDIA_TYPES.config, "3"),
  [descriptor(MEDIA_TYPES.diskMap, "1")],
  [
    { digest: digest("4"), sizeBytes: 500, frameCount: 3 },
    { digest: digest("5"), sizeBytes: 600, frameCount: 4 },
  ],
);
const attachment = {
  ...{
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType: "application/vnd.doppel.boot-test.v1",
  },
  config: descriptor(MEDIA_TYPES.empty, "6"),
  layers: [
    { ...descriptor("text/plain", "7"), annotations: { "org.opencontainers.image.title": "console.log" } },
  ],
  subject: descriptor(MEDIA_TYPES.manifest, "8"),
  annotations: { result: "login" },
};
const referrers = {
  ...{ schemaVersion: 2, mediaType: MEDIA_TYPES.index },
  manifests: [{ ...descriptor(MEDIA_TYPES.manifest, "9"), artifactType: "a/b", annotations: { a: "b" } }],
};
const layout = JSON.parse(
  formatLayoutIndex({
    unnamed: [],
    images: [{ digest: digest("a"), sizeBytes: 900, name: "site/web1", tag: "monday" }],
    referrers: [{ digest: digest("b"), sizeBytes: 800, artifactType: "a/b", annotations: { c: "d" } }],
  }),
);

/** Each parser with a valid document, and what must hold of whatever it takes. */
const PARSERS: { name: string; valid: unknown; parse: (blob: Buffer) => void }[] = [
  {
    name: "config",
    valid: config,
    parse: (blob) => {
      const { doppel } = parseImageConfig(blob, "test");
      for (const { name, map, sizeBytes } of doppel.disks) {
        expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
        expect(map).toMatch(DIGEST);
        expect(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0).toBe(true);
      }
      if (doppel.lineage.parent !== null) expect(doppel.lineage.parent).toMatch(DIGEST);
    },
  },
  {
    name: "manifest",
    valid: manifest,
    parse: (blob) => {
      const { config: own, layers } = parseManifest(blob, "test");
      for (const layer of [own, ...layers]) {
        expect(layer.digest).toMatch(DIGEST);
        expect(Number.isSafeInteger(layer.size) && layer.size >= 0).toBe(true);
      }
    },
  },
  {
    name: "manifest of an attachment",
    valid: attachment,
    parse: (blob) => {
      const { subject, layers } = parseAttachmentManifest(blob, "test");
      for (const layer of [subject, ...layers]) expect(layer.digest).toMatch(DIGEST);
    },
  },
  {
    name: "index of referrers",
    valid: referrers,
    parse: (blob) => {
      for (const referrer of parseIndex(blob, "test").manifests) expect(referrer.digest).toMatch(DIGEST);
    },
  },
  {
    name: "index of a layout",
    valid: layout,
    parse: (blob) => {
      const { images, referrers: found } = parseLayoutIndex(blob, "test");
      for (const entry of [...images, ...found]) expect(entry.digest).toMatch(DIGEST);
    },
  },
];

describe.each(PARSERS)("the $name", ({ valid, parse }) => {
  it("is taken as it is", () => parse(Buffer.from(JSON.stringify(valid))));

  it("with other values, members or bytes fits its schema or is refused", { timeout: TIME_LIMIT_MS }, () => {
    fc.assert(
      fc.property(mutatedJson(valid), (blob) => {
        acceptOrRefuse(() => parse(blob));
      }),
      cases(2000),
    );
    // Nothing of it got into what all objects share.
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it("of a depth or breadth that nobody writes is refused in good time", () => {
    const started = performance.now();
    const deep = "[".repeat(50_000) + "]".repeat(50_000);
    const member = Object.keys(valid as object).at(-1) ?? "";
    for (const text of [
      deep,
      JSON.stringify({ ...(valid as object), [member]: 0 }).replace(/0}$/, `${deep}}`),
      `{"__proto__":{"polluted":true},${JSON.stringify(valid).slice(1)}`,
      `{${Array.from({ length: 50_000 }, (_, at) => `"member ${at}":0`).join()}}`,
    ])
      acceptOrRefuse(() => parse(Buffer.from(text)));
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe("docker's config.json", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-docker-"));
  const before = process.env.DOCKER_CONFIG;
  beforeAll(() => {
    process.env.DOCKER_CONFIG = folder;
  });
  afterAll(() => {
    if (before === undefined) delete process.env.DOCKER_CONFIG;
    else process.env.DOCKER_CONFIG = before;
    rmSync(folder, { recursive: true, force: true });
  });

  it("gives a login or is refused without being quoted, and starts no program of a strange name", {
    timeout: TIME_LIMIT_MS,
  }, async () => {
    const auth = Buffer.from("pusher:the secret word").toString("base64");
    const valid = {
      auths: { "registry.example.org": { auth }, "other.example.org": { identitytoken: "the secret word" } },
      credHelpers: { "third.example.org": "../../../bin/sh" },
    };
    const hosts = [
      "registry.example.org",
      "other.example.org",
      "third.example.org",
      "__proto__",
      "constructor",
    ];
    await fc.assert(
      fc.asyncProperty(mutatedJson(valid), fc.constantFrom(...hosts), async (content, host) => {
        writeFileSync(join(folder, "config.json"), content);
        await acceptOrRefuseLater(async () => {
          try {
            await findCredentials(host);
          } catch (error) {
            expect(String(error)).not.toContain("secret");
            throw error;
          }
        });
      }),
      cases(1000),
    );
  });
});

import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import { type Header, pack } from "tar-stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseReference } from "../../../src/image/reference.ts";
import { loadArchive, saveArchive } from "../../../src/store/archive.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { verifyImage } from "../../../src/store/verify.ts";
import { seal } from "../store/sealed-image.ts";
import { acceptOrRefuseLater, cases, mutated, TIME_LIMIT_MS } from "./cases.ts";

const MIB = 1024 * 1024;

describe("a tar of images", () => {
  const work = mkdtempSync(join(tmpdir(), "doppel-hostile-"));
  let valid: Buffer;

  beforeAll(async () => {
    await using store = await ImageStore.open(join(work, "source"));
    const image = await seal(store, "web1");
    const pieces: Buffer[] = [];
    await saveArchive(store, [{ image, reference: parseReference("web1") }], async (tar) => {
      for await (const piece of tar) pieces.push(piece);
    });
    valid = Buffer.concat(pieces);
  });
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  async function load(store: ImageStore, tar: Buffer): Promise<boolean> {
    return (await acceptOrRefuseLater(() => loadArchive(store, Readable.from([tar])))) !== undefined;
  }

  it("whose bytes are changed is refused, or gives an image that verifies; it writes nothing outside", {
    timeout: TIME_LIMIT_MS,
  }, async () => {
    const home = join(work, "home");
    await using store = await ImageStore.open(home);
    const beside = () => readdirSync(work).sort();
    const before = beside();
    await fc.assert(
      fc.asyncProperty(mutated(valid), async (tar) => {
        await load(store, tar);
        for (const { digest } of store.list())
          expect((await verifyImage(store, { digest })).findings).toEqual([]);
        expect(readdirSync(join(home, "store/uploads"))).toEqual([]);
      }),
      cases(200),
    );
    expect(beside()).toEqual(before);
    expect(await load(store, valid)).toBe(true);
  });

  it("with members that lead elsewhere, or are no files, is refused", {
    timeout: TIME_LIMIT_MS,
  }, async () => {
    const home = join(work, "elsewhere");
    await using store = await ImageStore.open(home);
    const hex = "0".repeat(64);
    const names = [
      ...[
        "../outside",
        "/tmp/doppel-outside",
        "blobs/../../outside",
        "blobs/sha256/../../../outside",
        "./../outside",
      ],
      ...[`blobs/sha256/${hex}`, `blobs/sha256/${hex}/..`, "index.json", "a\u0000b", "\u001b[2Jindex.json"],
    ];
    const types = [
      "file",
      "symlink",
      "link",
      "directory",
      "fifo",
      "character-device",
      "block-device",
    ] as const;
    const member = fc.record({ name: fc.constantFrom(...names), type: fc.constantFrom(...types) });
    await fc.assert(
      fc.asyncProperty(fc.array(member, { minLength: 1, maxLength: 4 }), async (members) => {
        const tar = pack();
        for (const { name, type } of members) {
          const header: Partial<Header> & { name: string } = {
            name,
            type,
            ...(type === "symlink" || type === "link" ? { linkname: "../../outside" } : {}),
          };
          if (type === "file") tar.entry(header, "not what it says");
          else tar.entry(header);
        }
        tar.finalize();
        const pieces: Buffer[] = [];
        for await (const piece of tar) pieces.push(piece as Buffer);
        expect(await load(store, Buffer.concat(pieces))).toBe(false);
        expect(store.list()).toEqual([]);
        expect(readdirSync(store.blobs.folder)).toEqual([]);
        expect(existsSync(join(work, "outside")) || existsSync("/tmp/doppel-outside")).toBe(false);
      }),
      cases(100),
    );
  });

  it("with an extended header of gigabytes, or zeros without an end, is refused without gathering it", async () => {
    await using store = await ImageStore.open(join(work, "headers"));
    const zeros = Buffer.alloc(MIB);
    async function* with1024Mib(first: Buffer): AsyncGenerator<Buffer> {
      yield first;
      for (let sent = 0; sent < 1024; sent++) yield zeros;
    }
    const tar = pack();
    tar.entry({ name: "PaxHeader", type: "pax-header" as "file", size: 1024 * MIB });
    let header = Buffer.alloc(0);
    for await (const piece of tar) {
      header = Buffer.from(piece as Buffer);
      break;
    }
    const before = process.memoryUsage().rss;
    for (const first of [header, valid]) {
      const loading = loadArchive(store, Readable.from(with1024Mib(first), { objectMode: false }));
      await expect(loading).rejects.toMatchObject({ code: "archive-invalid" });
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * MIB);
  });

  it("that claims an index of gigabytes, or has one, is refused without reading it", async () => {
    await using store = await ImageStore.open(join(work, "gigabytes"));
    async function* endless(): AsyncGenerator<Buffer> {
      const tar = pack();
      tar.entry({ name: "index.json", size: 64 * 1024 * MIB });
      for await (const piece of tar) {
        yield piece as Buffer;
        break;
      }
      const zeros = Buffer.alloc(MIB);
      for (let sent = 0; sent < 64 * 1024; sent++) yield zeros;
    }
    const before = process.memoryUsage().rss;
    const loading = loadArchive(store, Readable.from(endless(), { objectMode: false }));
    await expect(loading).rejects.toMatchObject({ code: "archive-invalid" });
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * MIB);
    expect(statSync(store.blobs.folder).isDirectory()).toBe(true);
  });
});

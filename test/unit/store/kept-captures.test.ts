import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { collectGarbage } from "../../../src/store/gc.ts";
import { ImageStore } from "../../../src/store/image-store.ts";
import { ImageWriter } from "../../../src/store/image-writer.ts";
import { findKeptCapture, keepCapture } from "../../../src/store/kept-captures.ts";

const REFERENCE = { name: "db1", tag: "latest" };
const HOURS = 3600 * 1000;
let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-kept-"));
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

/** Keeps a capture of one cluster, made so many hours ago. */
async function keep(store: ImageStore, hours: number): Promise<void> {
  await using writer = new ImageWriter(() => store.createBlob(), 65_536);
  await writer.beginDisk(10 * 65_536);
  const table = Buffer.alloc(20);
  table.writeUInt32LE(100);
  await writer.add(0, [{ firstCluster: 3, count: 1 }], table, Buffer.alloc(100, 1));
  const { maps } = await writer.finishEarly();
  const created = new Date(Date.now() - hours * HOURS).toISOString();
  const disks = maps.map(({ digest }) => ({ device: "/dev/sda", sizeBytes: 10 * 65_536, map: digest }));
  keepCapture(store, REFERENCE, { created, parent: null, disks });
}

it("what an interrupted capture had received is kept for a week, and shown nowhere", async () => {
  await using store = await ImageStore.open(home);
  await keep(store, 6 * 24);
  expect(findKeptCapture(store, REFERENCE)).toMatchObject({ disks: [{ device: "/dev/sda" }] });
  expect(store.list()).toEqual([]);
  expect(await collectGarbage(store, { dryRun: false, graceMs: 0 })).toMatchObject({ quarantinedBlobs: 0 });
});

it("and no longer", async () => {
  await using store = await ImageStore.open(home);
  await keep(store, 8 * 24);
  expect(findKeptCapture(store, REFERENCE)).toBeUndefined();
  expect(await collectGarbage(store, { dryRun: false, graceMs: 0 })).toMatchObject({ quarantinedBlobs: 2 });
});

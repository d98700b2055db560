import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";
import { DoppelError } from "../errors.ts";
import type { Virsh } from "./virsh.ts";

const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const MOST_SIDE = 16_384;

/** The screen of a running domain as PNG. `folder`: where the file lies meanwhile. */
export async function takeScreenshot(virsh: Virsh, domain: string, folder: string): Promise<Buffer> {
  const path = join(folder, "screen");
  await virsh.run(["screenshot", domain, path]);
  const picture = await readFile(path);
  await rm(path);
  return picture.subarray(0, PNG_SIGNATURE.length).equals(PNG_SIGNATURE) ? picture : pngOfPpm(picture);
}

/** A binary PPM (`P6`, 8 bits a sample), as QEMU's screen dump is, as PNG (RFC 2083). */
export function pngOfPpm(ppm: Buffer): Buffer {
  const head = /^P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s/.exec(ppm.subarray(0, 64).toString("latin1"));
  const [width, height] = [Number(head?.[1]), Number(head?.[2])];
  const start = head?.[0].length ?? 0;
  const rowBytes = width * 3;
  if (!head || width > MOST_SIDE || height > MOST_SIDE || ppm.length < start + rowBytes * height)
    throw new DoppelError("libvirt-failed", "the screenshot is neither PNG nor a whole PPM picture");
  // Each row is preceded by its filter: none.
  const rows = Buffer.alloc((rowBytes + 1) * height);
  for (let row = 0; row < height; row++)
    ppm.copy(rows, row * (rowBytes + 1) + 1, start + row * rowBytes, start + (row + 1) * rowBytes);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const chunks = [chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([PNG_SIGNATURE, ...chunks]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const check = Buffer.alloc(4);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}

import { crc32, inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { pngOfPpm } from "../../../src/hypervisor/screenshot.ts";

describe("a screenshot", () => {
  it("becomes a PNG with the same picture and sound checksums", () => {
    const samples = Buffer.from(Array.from({ length: 3 * 2 * 3 }, (_, index) => index * 7));
    const png = pngOfPpm(Buffer.concat([Buffer.from("P6\n3 2\n255\n"), samples]));
    expect(png.subarray(1, 4).toString()).toBe("PNG");
    const chunks = new Map<string, Buffer>();
    for (let at = 8; at < png.length; ) {
      const length = png.readUInt32BE(at);
      const body = png.subarray(at + 4, at + 8 + length);
      expect(png.readUInt32BE(at + 8 + length)).toBe(crc32(body));
      chunks.set(body.subarray(0, 4).toString(), body.subarray(4));
      at += length + 12;
    }
    expect([...chunks.keys()]).toEqual(["IHDR", "IDAT", "IEND"]);
    expect(chunks.get("IHDR")?.readUInt32BE(0)).toBe(3);
    const rows = inflateSync(chunks.get("IDAT") ?? Buffer.alloc(0));
    expect(Buffer.concat([rows.subarray(1, 10), rows.subarray(11, 20)])).toEqual(samples);
  });

  it("that is cut short, or is no picture, is refused", () => {
    expect(() => pngOfPpm(Buffer.from("P6\n3 2\n255\nabc"))).toThrow(/not a whole|neither PNG/);
    expect(() => pngOfPpm(Buffer.from("GIF89a"))).toThrow(/neither PNG/);
    expect(() => pngOfPpm(Buffer.from("P6\n99999 99999\n255\n"))).toThrow(/neither PNG/);
  });
});

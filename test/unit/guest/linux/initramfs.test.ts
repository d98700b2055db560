import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import {
  type CpioMember,
  decodeCpio,
  encodeCpio,
  FILE_MODE,
  FOLDER_MODE,
} from "../../../../src/guest/linux/cpio.ts";
import { Initramfs } from "../../../../src/guest/linux/initramfs.ts";

const file = (path: string, text: string): CpioMember => ({
  path,
  mode: FILE_MODE,
  content: Buffer.from(text),
});
const folder = (path: string): CpioMember => ({ path, mode: FOLDER_MODE, content: Buffer.alloc(0) });
const link = (path: string, target: string): CpioMember => ({
  path,
  mode: 0o120777,
  content: Buffer.from(target),
});

const MAIN = [
  folder("usr"),
  folder("usr/lib"),
  link("lib", "usr/lib"),
  file("usr/lib/one", "1"),
  file("conf", "old"),
];

describe("a cpio archive", () => {
  it("gives back what went in", () => {
    const { members, endBytes } = decodeCpio(encodeCpio(MAIN));
    expect(members).toEqual(MAIN);
    expect(endBytes).toBe(encodeCpio(MAIN).length);
  });

  it("that is cut short, or leads out of its root, is refused", () => {
    const bytes = encodeCpio(MAIN);
    for (const length of [50, 300, bytes.length - 130])
      expect(() => decodeCpio(bytes.subarray(0, length))).toThrow(
        expect.objectContaining({ code: "initramfs-invalid" }),
      );
    expect(() => decodeCpio(encodeCpio([file("a/../../etc/passwd", "")]))).toThrow(/named/);
  });
});

describe("an initramfs", () => {
  const early = encodeCpio([folder("kernel"), file("kernel/microcode", "µ")]);
  const padding = Buffer.alloc(512 - (early.length % 512));

  it("is all of its archives, the later ones over the earlier ones, links followed", async () => {
    const bytes = Buffer.concat([
      early,
      padding,
      gzipSync(Buffer.concat([encodeCpio(MAIN), encodeCpio([file("conf", "new")])])),
    ]);
    const initramfs = await Initramfs.read(bytes);
    expect(initramfs.compression).toBe("gzip");
    expect(initramfs.file("lib/one")?.toString()).toBe("1");
    expect(initramfs.file("conf")?.toString()).toBe("new");
    expect(initramfs.file("kernel/microcode")?.toString()).toBe("µ");
    expect(initramfs.resolve("lib/modules/6.1")).toBe("usr/lib/modules/6.1");
  });

  it("takes more members after it without hiding a link behind a folder", async () => {
    const before = await Initramfs.read(encodeCpio(MAIN));
    const added = before.addition([file("lib/modules/x.ko", "module"), file("conf", "changed")]);
    const bytes = Buffer.concat([encodeCpio(MAIN), added]);
    const after = await Initramfs.read(bytes);
    expect(after.file("usr/lib/modules/x.ko")?.toString()).toBe("module");
    expect(after.file("lib/modules/x.ko")?.toString()).toBe("module");
    expect(after.file("conf")?.toString()).toBe("changed");
    const appended = decodeCpio(bytes.subarray(Math.ceil(encodeCpio(MAIN).length / 512) * 512)).members;
    expect(appended.map(({ path }) => path)).toEqual(["usr/lib/modules", "usr/lib/modules/x.ko", "conf"]);
  });

  it("of unknown data, or with links in a circle, ends with an error or without the file", async () => {
    await expect(Initramfs.read(Buffer.from("no initramfs at all"))).rejects.toMatchObject({
      code: "initramfs-invalid",
    });
    await expect(Initramfs.read(Buffer.concat([gzipSync("x").subarray(0, 12)]))).rejects.toMatchObject({
      code: "initramfs-invalid",
    });
    const circle = await Initramfs.read(encodeCpio([link("a", "b"), link("b", "a")]));
    expect(circle.file("a/x")).toBeUndefined();
  });
});

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { Doppel, must, possible, runCommand, Source } from "./doppel.ts";

describe.skipIf(!possible)("an export to another format", () => {
  const doppel = new Doppel();
  const at = (name: string) => join(doppel.home, name);
  let second: DiskImage;

  beforeAll(async () => {
    await using source = await Source.start(24);
    second = new DiskImage(9 * 1024 * 1024 + 512);
    const text = "a line of a text that compresses well\n".repeat(100_000);
    writeFileSync(second.path, text, { flag: "r+" });
    const other = second.attach({ readOnly: true });
    await doppel.json(...source.capture, "--disk", other, "--name", "two/disks");
    await doppel.json("export", "two/disks", "-o", at("0.qcow2"), "--disk", "0");
    await doppel.json("export", "two/disks", "-o", at("1.qcow2"), "--disk", "1");
  });
  afterAll(() => {
    second?.[Symbol.dispose]();
    doppel[Symbol.dispose]();
  });

  it.each([
    ["vmdk", "vmdk"],
    ["vmdk-sparse", "vmdk"],
    ["vhdx", "vhdx"],
    ["vhd", "vpc"],
    ["vdi", "vdi"],
    ["qed", "qed"],
    ["parallels", "parallels"],
  ])("%s holds the same disk for qemu-img, whatever the disk's size", async (format, driver) => {
    for (const disk of ["0", "1"]) {
      const path = at(`${disk}.${format}`);
      const result = await doppel.json("export", "two/disks", "-o", path, "--format", format, "--disk", disk);
      expect(result).toMatchObject({ format, disk: Number(disk), path });
      await must("qemu-img", "compare", "-q", "-f", driver, "-F", "qcow2", path, at(`${disk}.qcow2`));
    }
    expect(readdirSync(doppel.home).filter((name) => /tmp|partial/.test(name))).toEqual([]);
  });

  it("takes the format from the file's ending", async () => {
    for (const [ending, format] of [
      ["vmdk", "vmdk"],
      ["vhdx", "vhdx"],
      ["vhd", "vhd"],
      ["vdi", "vdi"],
    ]) {
      const path = at(`ending.${ending}`);
      expect(await doppel.json("export", "two/disks", "-o", path, "--disk", "1")).toMatchObject({ format });
    }
  });

  it("is a VMDK stream as ESXi wants it: version 3, markers, deflate; the same bytes each time", async () => {
    for (const name of ["a.vmdk", "b.vmdk"])
      await doppel.json("export", "two/disks", "-o", at(name), "--disk", "0");
    const bytes = readFileSync(at("a.vmdk"));
    expect(bytes.subarray(0, 4).toString()).toBe("KDMV");
    expect(bytes.readUInt32LE(4)).toBe(3);
    expect(bytes.readUInt32LE(8)).toBe(0x3_0001);
    expect(bytes.readUInt16LE(77)).toBe(1);
    expect(bytes.subarray(512, 2048).toString()).toContain('createType="streamOptimized"');
    // The last three sectors: the footer's marker is before it, the end of the stream behind it.
    expect(bytes.subarray(-1024, -1020).toString()).toBe("KDMV");
    expect(bytes.subarray(-512).equals(Buffer.alloc(512))).toBe(true);
    expect(readFileSync(at("b.vmdk")).equals(bytes)).toBe(true);
  });

  it("is an OVA with every disk: tar, sha256sum, xmllint and virt-v2v read it; the same bytes each time", async () => {
    for (const name of ["a.ova", "b.ova"]) await doppel.json("export", "two/disks", "-o", at(name));
    const bytes = readFileSync(at("a.ova"));
    expect(readFileSync(at("b.ova")).equals(bytes)).toBe(true);
    const names = ["two-disks.ovf", "two-disks-disk0.vmdk", "two-disks-disk1.vmdk", "two-disks.mf"];
    expect((await must("tar", "tf", at("a.ova"))).trim().split("\n")).toEqual(names);
    mkdirSync(at("ova"));
    await must("tar", "xf", at("a.ova"), "-C", at("ova"));
    for (const line of readFileSync(at("ova/two-disks.mf"), "utf8").trim().split("\n")) {
      const [, file = "", digest] = /^SHA256\((.*)\)= ([0-9a-f]{64})$/.exec(line) ?? [];
      expect(
        createHash("sha256")
          .update(readFileSync(at(`ova/${file}`)))
          .digest("hex"),
      ).toBe(digest);
    }
    for (const disk of [0, 1])
      await must("qemu-img", "compare", "-q", at(`ova/two-disks-disk${disk}.vmdk`), at(`${disk}.qcow2`));
    const ovf = at("ova/two-disks.ovf");
    await must("xmllint", "--noout", "--nonet", ovf);
    const sizes = await must("xmllint", "--xpath", "//*[local-name()='File']/@*[local-name()='size']", ovf);
    expect([...sizes.matchAll(/"(\d+)"/g)].map(([, size]) => Number(size))).toEqual(
      [0, 1].map((disk) => readFileSync(at(`ova/two-disks-disk${disk}.vmdk`)).length),
    );
    const { stdout, stderr, code } = await runCommand(
      "virt-v2v",
      ["-i", "ova", at("a.ova"), "--print-source"],
      {
        LIBGUESTFS_BACKEND: "direct",
      },
    );
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/source name: two-disks[\s\S]*0 \[scsi\][\s\S]*1 \[scsi\]/);
  });

  it("refuses one disk of an OVA (exit 2)", async () => {
    const { code, stderr } = await doppel.run("export", "two/disks", "-o", at("x.ova"), "--disk", "0");
    expect(code).toBe(2);
    expect(stderr).toContain("an OVA holds all disks");
  });

  it.each(["vmdk", "vmdk-sparse", "vhdx", "ova"])(
    "to %s of a pack that has rotted says which, and leaves nothing",
    async (format) => {
      using copy = new Doppel();
      await must("cp", "-a", `${doppel.home}/store`, `${doppel.home}/catalog.db`, copy.home);
      const { manifest } = (await copy.json("images", "show", "two/disks")) as {
        manifest: { layers: { mediaType: string; digest: string; size: number }[] };
      };
      const pack = manifest.layers.find(({ mediaType }) => mediaType.includes("pack"));
      const path = join(copy.home, "store/blobs/sha256", (pack?.digest ?? "").replace("sha256:", ""));
      const bytes = readFileSync(path);
      bytes[5000] = (bytes[5000] ?? 0) ^ 0xff;
      await must("chmod", "u+w", path);
      writeFileSync(path, bytes);
      const out = join(copy.home, "out.bin");
      const disk = format === "ova" ? [] : ["--disk", "0"];
      const { code, stderr } = await copy.run("export", "two/disks", "-o", out, "--format", format, ...disk);
      expect(code).toBe(1);
      expect(stderr).toMatch(/corrupt|does not match its digest|failed/);
      expect(existsSync(out)).toBe(false);
      expect(readdirSync(copy.home).filter((name) => name.includes("out.bin"))).toEqual([]);
    },
  );
});

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DiskImage } from "../../fixtures/disks.ts";
import { foreignDisk } from "../../fixtures/foreign-disk.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import {
  type CommandResult,
  Doppel,
  loginTo,
  must,
  possible,
  type RunningCommand,
  startCommand,
} from "./doppel.ts";

const FORMATS: [ending: string, driver: string, options: string][] = [
  ["qcow2", "qcow2", ""],
  ["qcow2", "qcow2", "compression_type=zstd"],
  ["qcow", "qcow", ""],
  ["qed", "qed", ""],
  ["vmdk", "vmdk", "subformat=monolithicSparse"],
  ["vmdk", "vmdk", "subformat=streamOptimized"],
  ["vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"],
  ["vmdk", "vmdk", "subformat=monolithicFlat"],
  ["vhd", "vpc", "subformat=dynamic,force_size=on"],
  ["vhd", "vpc", "subformat=fixed,force_size=on"],
  ["vhdx", "vhdx", ""],
  ["vdi", "vdi", ""],
  ["hds", "parallels", ""],
];

const ODD_BYTES = 8 * 2 ** 40 - 512;

interface ImportedDisk {
  name: string;
  map: string;
  sizeBytes: number;
  dataBytes: number;
}

describe.skipIf(!possible)("doppel import", () => {
  const doppel = new Doppel();
  let disk: DiskImage;
  let at: (name: string) => string;
  /** The map of the disk as a capture makes it: equal maps mean equal disks and equal packs. */
  let captured: ImportedDisk | undefined;

  beforeAll(async () => {
    disk = foreignDisk(7);
    at = (name) => join(disk.folder, name);
    await using sshd = await Sshd.start();
    const loop = disk.attach({ readOnly: true });
    await doppel.json("capture", ...loginTo(sshd), "--disk", loop, "--name", "captured");
    captured = (await disksOf("captured"))[0];
  });
  afterAll(() => {
    disk?.[Symbol.dispose]();
    doppel[Symbol.dispose]();
  });

  async function disksOf(ref: string): Promise<ImportedDisk[]> {
    return (await doppel.json("images", "show", ref)).disks as ImportedDisk[];
  }

  const quick = (...args: string[]) => doppel.json("import", ...args, "--no-inspect");
  const refused = async (...args: string[]) => {
    const { code, stderr } = await doppel.run("import", ...args, "--name", "refused", "--no-inspect");
    return { code, stderr };
  };

  it.each(FORMATS)(
    "of .%s (%s %s) is the image that a capture of the disk makes",
    async (ending, driver, options) => {
      const file = at(`${options.replace(/\W/g, "-")}.${ending}`);
      const how = options === "" ? [] : ["-o", options];
      await must("qemu-img", "convert", "-f", "raw", "-O", driver, ...how, disk.path, file);
      const result = await quick(file, "--name", "of-format");
      expect(result).toMatchObject({ grade: "crash", files: [{ name: basename(file) }] });
      expect(await disksOf("of-format")).toMatchObject([{ ...captured, name: "sda", device: "/dev/sda" }]);
    },
  );

  it("of a raw disk holds what the disk holds, for qemu-img; every hash is right", async () => {
    await quick(disk.path, "--name", "raw");
    expect(await disksOf("raw")).toMatchObject([{ map: captured?.map }]);
    await doppel.json("export", "raw", "-o", at("exported.raw"));
    await must("qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", at("exported.raw"), disk.path);
    expect((await doppel.run("images", "verify", "raw")).code).toBe(0);
    expect(await doppel.json("images", "show", "raw")).toMatchObject({
      lineage: { kind: "import", parent: null },
    });
  });

  it("reads no bytes of a hole, however large, and keeps an odd end", async () => {
    const file = at("odd.raw");
    execFileSync("truncate", ["-s", String(ODD_BYTES), file]);
    writeFileSync(file, "the first bytes", { flag: "r+" });
    const result = await quick(file, "--name", "odd");
    expect(result).toMatchObject({ disks: [{ sizeBytes: ODD_BYTES, dataBytes: 65_536 }] });
    expect(Number(result.readBytes)).toBeLessThan(10_000_000);
  });

  it("takes several files as the disks of one machine", async () => {
    const second = at("second.qcow2");
    await must("qemu-img", "create", "-q", "-f", "qcow2", second, "10M");
    await must("qemu-io", "-c", "write -P 5 1M 1M", second);
    const result = await quick(disk.path, second, "--name", "two");
    expect(result).toMatchObject({ disks: [{ name: "sda" }, { name: "sdb", dataBytes: 1024 * 1024 }] });
  });

  it("says what it would do with --dry-run, makes nothing; the machine is known from its disks", async () => {
    const before = await doppel.json("images", "ls");
    const plan = await doppel.json("import", disk.path, "--name", "dry", "--dry-run");
    expect(plan).toMatchObject({
      dryRun: true,
      facts: {
        os: {
          id: "debian",
          hostname: "db7",
          prettyName: "Debian GNU/Linux 12 (bookworm)",
          kernels: ["6.1.0-9-amd64"],
          bootLoader: "grub2",
          licenceFamily: "none",
        },
        hardware: { arch: "x86_64" },
        firmware: { type: "bios" },
        assumed: ["hardware.cpus", "hardware.memoryBytes"],
      },
      plan: { disks: [{ table: "gpt" }] },
    });
    expect((plan.facts as { block: unknown[] }).block).toContainEqual(
      expect.objectContaining({
        path: "/dev/sda1",
        fsType: "ext4",
        fsLabel: "root",
        fsUuid: "0e1d4a8a-5d5c-4f0f-9f66-52b2e3f10001",
        mounts: [expect.objectContaining({ path: "/" })],
      }),
    );
    expect(await doppel.json("images", "ls")).toEqual(before);
  });

  describe("of a large file", () => {
    let file: string;

    beforeAll(() => {
      file = at("large.raw");
      execFileSync("bash", ["-c", `head -c 300M /dev/urandom > ${file}`]);
    });

    /** Does something once the import has said what it will take. */
    async function meanwhile(name: string, work: (running: RunningCommand) => void): Promise<CommandResult> {
      const running = doppel.start("import", file, "--name", name, "--no-inspect", "--level", "9");
      running.child.stderr?.on("data", (text: Buffer | string) => {
        if (String(text).includes("consistency grade")) work(running);
      });
      return await running.ended;
    }

    async function expectNothing(name: string): Promise<void> {
      expect((await doppel.run("images", "show", name)).code).toBe(1);
      expect(readdirSync(join(doppel.home, "store/uploads"))).toEqual([]);
      expect(await must("bash", "-c", "pgrep -af 'qemu-nb[d].*large.raw' || true")).toBe("");
    }

    it("that is written to meanwhile is refused, and leaves nothing", async () => {
      const { code, stderr } = await meanwhile("changing", () => writeFileSync(file, "x", { flag: "a" }));
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("disk-image-changed"),
      });
      await expectNothing("changing");
    });

    it("stopped by Ctrl-C leaves nothing that can be seen, and no server", async () => {
      const { code } = await meanwhile("stopped", ({ child }) => child.kill("SIGINT"));
      expect(code).toBe(130);
      await expectNothing("stopped");
    });
  });

  it.each(["SIGINT", "SIGKILL"] as const)(
    "ended by %s while an appliance looks into the disks leaves no appliance",
    async (signal) => {
      const file = at("looked-into.raw");
      const temporary = at(`temporary-${signal}`);
      mkdirSync(temporary);
      await must("truncate", "--size=64M", file);
      const running = doppel.startAs({ TMPDIR: temporary }, "import", file, "--name", "looked-into");
      // Seconds of processor time that each has taken: one that has just been started ends for other reasons.
      const appliances = async () =>
        (await must("ps", "-eo", "times=,args="))
          .split("\n")
          .filter((line) => line.includes("qemu-system") && line.includes(`${temporary}/`))
          .map((line) => Number.parseInt(line, 10));
      await expect
        .poll(async () => Math.max(...(await appliances())), { timeout: 60_000 })
        .toBeGreaterThan(1);
      running.child.kill(signal);
      expect((await running.ended).code).toBe(signal === "SIGINT" ? 130 : -1);
      await expect.poll(appliances, { timeout: 30_000 }).toEqual([]);
      if (signal === "SIGINT") expect(readdirSync(temporary)).toEqual([]);
    },
  );

  describe("refuses, for what a file names would end in the image", () => {
    it.each(["qcow2", "qcow", "qed"])("a %s with a backing file", async (driver) => {
      const file = at(`backed.${driver}`);
      await must(
        "qemu-img",
        "create",
        "-q",
        "-f",
        driver,
        "-u",
        "-b",
        "/etc/passwd",
        "-F",
        "raw",
        file,
        "1M",
      );
      expect(await refused(file)).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("disk-image-external"),
      });
    });

    it("a qcow2 with a data file; unless it is allowed", async () => {
      const file = at("data.qcow2");
      const options = `data_file=${at("data.bin")},data_file_raw=on`;
      await must("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, file, "1M");
      expect(await refused(file)).toMatchObject({ code: 3, stderr: expect.stringContaining("data file") });
      await quick(file, "--name", "allowed", "--allow-external");
    });

    it.each([
      ["an absolute path", "/etc/passwd"],
      ["a path upwards", "../../../../etc/passwd"],
      ["another kind of file", "disk.img"],
      ["a link", "link.vmdk"],
      ["a protocol", "nbd:127.0.0.1:1.vmdk"],
    ])("a VMDK descriptor whose extent is %s", async (_, name) => {
      const file = at("descriptor.vmdk");
      if (name === "link.vmdk") symlinkSync("/etc/passwd", at(name));
      writeFileSync(file, descriptor(`RW 4 FLAT "${name}" 0`));
      expect(await refused(file)).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("disk-image-external"),
      });
    });

    it("a VMDK with a parent, and one whose header hides a descriptor", async () => {
      const child = at("child.vmdk");
      writeFileSync(
        child,
        `${descriptor("RW 4 ZERO")}parentCID=12345678\nparentFileNameHint="/etc/passwd"\n`,
      );
      expect(await refused(child)).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("backing file"),
      });
      const hidden = Buffer.alloc(4096);
      hidden.write("KDMV");
      hidden.writeUInt32LE(1, 4);
      hidden.writeBigUInt64LE(1n, 28);
      hidden.write(descriptor('RW 4 FLAT "/etc/passwd" 0'), 512);
      writeFileSync(at("hidden.vmdk"), hidden);
      const outer = at("outer.vmdk");
      writeFileSync(outer, descriptor('RW 4 SPARSE "hidden.vmdk"'));
      expect(await refused(outer)).toMatchObject({
        code: 3,
        stderr: expect.stringContaining("disk-image-external"),
      });
      expect(await refused(at("hidden.vmdk"))).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("disk-image-invalid"),
      });
    });
  });

  it("asks which is meant when a raw disk begins like another format; --format says it", async () => {
    const file = at("like.raw");
    await must("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", file, "1M");
    expect(await refused(file)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("disk-image-ambiguous"),
    });
    await quick(file, "--format", "raw", "--name", "like");
    await doppel.json("export", "like", "-o", at("like-again.raw"));
    const bytes = readFileSync(file);
    expect(readFileSync(at("like-again.raw")).subarray(0, bytes.length).equals(bytes)).toBe(true);
  });

  it("refuses a disk that runs, one that is damaged, one that is not there", async () => {
    const file = at("running.qcow2");
    await must("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk.path, file);
    const server = startCommand("qemu-nbd", ["--persistent", "-f", "qcow2", `--socket=${at("lock")}`, file]);
    await expect.poll(() => readdirSync(disk.folder).includes("lock"), { timeout: 20_000 }).toBe(true);
    expect(await refused(file)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("disk-image-busy"),
    });
    server.child.kill();
    await server.ended;
    const bytes = readFileSync(file);
    bytes.fill(0xff, 65_536, 262_144);
    writeFileSync(file, bytes);
    expect(await refused(file)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/running\.qcow2.*\(/),
    });
    expect(await refused(at("nowhere.qcow2"))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("ENOENT"),
    });
    expect(await refused(disk.folder)).toMatchObject({ code: 1, stderr: expect.stringContaining("folder") });
  });
});

function descriptor(extent: string): string {
  return `# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n${extent}\n`;
}

import { existsSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage, fillAndFragment } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { Doppel, loginTo, must, possible, type RunningCommand, runCommand } from "./doppel.ts";

const MIB = 1024 * 1024;
const DISK_BYTES = 200 * MIB;

describe.skipIf(!possible)("doppel serve", () => {
  const doppel = new Doppel();
  let image: DiskImage;
  /** What the image holds, as a raw file. */
  let raw: string;
  let socketNumber = 0;

  beforeAll(async () => {
    await using sshd = await Sshd.start();
    image = new DiskImage(DISK_BYTES);
    await must("mkfs.ext4", "-q", "-F", image.path);
    const loop = image.attach();
    const folder = image.mount(loop);
    fillAndFragment(folder, 9, 150);
    image.unmount(folder);
    await doppel.json("capture", ...loginTo(sshd), "--disk", loop, "--name", "disk");
    raw = join(image.folder, "disk.raw");
    await doppel.json("export", "disk", "-o", raw);
  });

  afterAll(() => {
    image[Symbol.dispose]();
    doppel[Symbol.dispose]();
  });

  /** Serves the image while `work` runs, stops it as Ctrl-C does, and returns what it printed in the end. */
  async function served(
    flags: string[],
    work: (uri: string, socketPath: string, running: RunningCommand) => Promise<void>,
  ): Promise<Record<string, unknown>> {
    const socketPath = join(image.folder, `nbd${socketNumber++}.sock`);
    const running = doppel.start("serve", "disk", "--socket", socketPath, "--json", ...flags);
    try {
      await expect
        .poll(() => existsSync(socketPath) || running.child.exitCode !== null, { timeout: 20_000 })
        .toBe(true);
      await work(`nbd+unix:///?socket=${socketPath}`, socketPath, running);
    } finally {
      running.child.kill("SIGINT");
    }
    const { code, stdout, stderr } = await running.ended;
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(existsSync(socketPath)).toBe(false);
    return JSON.parse(stdout);
  }

  it("is what nbdinfo, nbdcopy and qemu-img say it is: size, flags, allocation, content", async () => {
    await served([], async (uri, socketPath) => {
      expect(statSync(socketPath).mode & 0o777).toBe(0o600);
      const info = JSON.parse(await must("nbdinfo", "--json", uri)).exports[0];
      expect(info).toMatchObject({
        "export-size": DISK_BYTES,
        is_read_only: true,
        can_df: true,
        can_multi_conn: true,
      });
      const list = await must("nbdinfo", "--list", uri);
      expect(list).toContain("loop");
      const map = JSON.parse(await must("nbdinfo", "--map", "--json", uri)) as {
        length: number;
        type: number;
      }[];
      expect(map.reduce((sum, { length }) => sum + length, 0)).toBe(DISK_BYTES);
      expect(new Set(map.map(({ type }) => type))).toEqual(new Set([0, 3]));
      const copy = join(image.folder, "copy.raw");
      await must("nbdcopy", uri, copy);
      await must("cmp", copy, raw);
      await must("qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", uri, raw);
      const plain = join(image.folder, "plain.raw");
      await must("nbdcopy", "--connections=1", "--requests=1", "--synchronous", uri, plain);
      await must("cmp", plain, raw);
    });
  });

  it("takes no write without --writable", async () => {
    await served([], async (uri) => {
      const { code, stderr, stdout } = await runCommand("qemu-io", ["-f", "raw", "-c", "write 0 4096", uri]);
      expect({ code, said: stderr + stdout }).toMatchObject({
        code: 1,
        said: expect.stringMatching(/read-only|Permission/i),
      });
    });
  });

  it("keeps patterns of any offset and length as qemu-io writes them, zeroes and trims", async () => {
    const model = join(image.folder, "model.raw");
    await must("cp", "--sparse=always", raw, model);
    const operation = fc.record({
      kind: fc.constantFrom("write -P", "write -z", "write -zu", "discard"),
      offset: fc.integer({ min: 0, max: DISK_BYTES / 512 - 1 }),
      sectors: fc.integer({ min: 1, max: 2048 }),
      pattern: fc.integer({ min: 1, max: 255 }),
    });
    const operations = fc.sample(operation, { numRuns: 120, seed: 5 });
    const commands = operations.map(({ kind, offset, sectors, pattern }) => {
      const length = Math.min(sectors * 512, DISK_BYTES - offset * 512);
      const what = kind === "write -P" ? `write -P ${pattern}` : kind;
      // Trimmed bytes may read as anything: with us they are zeros, in the model they must be made so.
      return {
        ours: `${what} ${offset * 512} ${length}`,
        model: `${what.replace("discard", "write -z")} ${offset * 512} ${length}`,
      };
    });
    const args = (which: "ours" | "model") => commands.flatMap((command) => ["-c", command[which]]);
    await must("qemu-io", "-f", "raw", ...args("model"), model);
    const result = await served(["--writable", "--name", "patterns"], async (uri) => {
      await must("qemu-io", "-f", "raw", ...args("ours"), uri);
      await must("qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", uri, model);
    });
    expect(result.child).toMatchObject({ name: "patterns:latest" });
    const sealed = join(image.folder, "patterns.raw");
    await doppel.json("export", "patterns", "-o", sealed);
    await must("cmp", sealed, model);
    expect((await doppel.run("images", "verify", "patterns")).code).toBe(0);
    // The parent is what it was.
    await doppel.json("export", "disk", "-o", join(image.folder, "again.raw"));
    await must("cmp", join(image.folder, "again.raw"), raw);
  });

  it("seals only what differs: a write that restores the old content costs nothing", async () => {
    const zeros = await served(["--writable", "--name", "same"], async (uri) => {
      const copy = join(image.folder, "restore.raw");
      await must("nbdcopy", uri, copy);
      await must("qemu-io", "-f", "raw", "-c", "write -P 7 1M 3M", uri);
      // All of the old content again.
      await must("nbdcopy", "--allocated", copy, uri);
    });
    expect(zeros.child).toMatchObject({ changedBytes: 0 });
    const child = await doppel.json("images", "show", "same");
    const parent = await doppel.json("images", "show", "disk");
    const layers = (shown: Record<string, unknown>) =>
      (shown.manifest as { layers: { digest: string }[] }).layers;
    expect(layers(child)).toEqual(layers(parent));
    expect(child.lineage).toEqual({ kind: "edit", parent: parent.digest });
  });

  it("says exactly which ranges changed, and keeps a file system that was written through it sound", async () => {
    const result = await served(["--writable", "--name", "written"], async (uri) => {
      await must(
        "qemu-io",
        "-f",
        "raw",
        "-c",
        "write -P 9 65536 10",
        "-c",
        "write -P 9 131073 1",
        "-c",
        "write -P 9 1M 64k",
        uri,
      );
    });
    expect(result.child).toMatchObject({ changedBytes: 3 * 65_536 });
    const shown = await doppel.json("images", "show", "written");
    expect(shown.disks).toMatchObject([
      {
        changed: [
          { offsetBytes: 65_536, lengthBytes: 131_072 },
          { offsetBytes: MIB, lengthBytes: 65_536 },
        ],
      },
    ]);
  });

  it("lets two clients write at once and each read the other's", async () => {
    await served(["--writable"], async (uri) => {
      const writes = [0, 1].map((client) => {
        const commands = Array.from({ length: 60 }, (_, i) => [
          "-c",
          `write -P ${client + 1} ${(2 * i + client) * 16_384} 16k`,
        ]);
        return must("qemu-io", "-f", "raw", ...commands.flat(), uri);
      });
      await Promise.all(writes);
      const reads = Array.from({ length: 120 }, (_, i) => ["-c", `read -P ${(i % 2) + 1} ${i * 16_384} 16k`]);
      expect(await must("qemu-io", "-f", "raw", ...reads.flat(), uri)).not.toMatch(
        /Pattern verification failed/,
      );
    });
    // Without --name it was all dropped.
    await doppel.json("export", "disk", "-o", join(image.folder, "dropped.raw"));
    await must("cmp", join(image.folder, "dropped.raw"), raw);
  });

  it("survives what is no NBD, and serves the next client", async () => {
    await served([], async (uri, socketPath, running) => {
      const talk = (bytes: Buffer) =>
        new Promise<void>((resolve) => {
          const socket = connect(socketPath);
          socket.on("error", () => {});
          socket.on("close", () => resolve());
          socket.end(bytes);
          socket.resume();
        });
      const option = (number: number, data: Buffer, length = data.length) => {
        const header = Buffer.alloc(16);
        header.write("IHAVEOPT", "latin1");
        header.writeUInt32BE(number, 8);
        header.writeUInt32BE(length, 12);
        return Buffer.concat([header, data]);
      };
      const hello = Buffer.from([0, 0, 0, 3]);
      const request = (type: number, flags: number, offset: bigint, length: number, magic = 0x25609513) => {
        const bytes = Buffer.alloc(28);
        bytes.writeUInt32BE(magic >>> 0);
        bytes.writeUInt16BE(flags, 4);
        bytes.writeUInt16BE(type, 6);
        bytes.writeBigUInt64BE(offset, 16);
        bytes.writeUInt32BE(length, 24);
        return bytes;
      };
      const go = option(7, Buffer.from([0, 0, 0, 0, 0, 0]));
      await fc.assert(
        fc.asyncProperty(
          fc.oneof(
            fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
            fc
              .tuple(
                fc.nat(20),
                fc.uint8Array({ maxLength: 64 }),
                fc.oneof(fc.constant(undefined), fc.nat(2 ** 32 - 1)),
              )
              .map(([number, data, length]) =>
                Buffer.concat([hello, option(number, Buffer.from(data), length)]),
              ),
            fc
              .array(
                fc.tuple(
                  fc.nat(12),
                  fc.nat(65_535),
                  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
                  fc.nat(2 ** 32 - 1),
                  fc.boolean(),
                ),
                { maxLength: 4 },
              )
              .map((requests) =>
                Buffer.concat([
                  hello,
                  option(8, Buffer.alloc(0)),
                  go,
                  ...requests.map(([type, flags, offset, length, sound]) =>
                    request(type, flags, offset, length, sound ? undefined : 1),
                  ),
                ]),
              ),
          ),
          talk,
        ),
        { numRuns: 400, seed: 3 },
      );
      expect(running.child.exitCode).toBeNull();
      await must("nbdinfo", "--size", uri);
    });
  });

  it("refuses a socket that is there (exit 3), a name without --writable (exit 2), an unknown image", async () => {
    expect(await doppel.run("serve", "disk", "--socket", raw)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("socket-taken"),
    });
    expect(readFileSync(raw).length).toBe(DISK_BYTES);
    expect(await doppel.run("serve", "disk", "--name", "x")).toMatchObject({ code: 2 });
    expect(await doppel.run("serve", "none")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("image-unknown"),
    });
  });

  it("reads with fio what fio wrote", async () => {
    await served(["--writable"], async (uri) => {
      const job = [
        "--name=verify",
        "--ioengine=nbd",
        `--uri=${uri}`,
        "--rw=randrw",
        "--bsrange=512-256k",
        "--size=64M",
        "--iodepth=16",
      ];
      await must(
        "fio",
        ...job,
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--output-format=terse",
        "--randseed=4",
      );
    });
  });
});

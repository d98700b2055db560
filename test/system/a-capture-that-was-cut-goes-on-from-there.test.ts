import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytesArrived, Doppel, must, possible, Source } from "./doppel.ts";

const MIB = 1024 * 1024;

describe.skipIf(!possible)("a capture that was cut", () => {
  let source: Source;
  let args: string[];

  beforeAll(async () => {
    source = await Source.start(64);
    args = [...source.capture, "--name", "cut"];
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
  });

  /** Captures slowly, disturbs the capture once `arrived` bytes are in a temporary blob, and returns its last words. */
  async function cutShort(doppel: Doppel, arrived: number, disturb: (pid: number) => void): Promise<string> {
    const running = doppel.start(...args, "--limit-rate", "16M");
    await bytesArrived(doppel, arrived);
    disturb(running.child.pid ?? 0);
    const { code, stderr } = await running.ended;
    expect(code).not.toBe(0);
    return stderr;
  }

  async function expectNothingVisible(doppel: Doppel): Promise<void> {
    expect(await doppel.json("images", "ls")).toEqual([]);
    expect(readdirSync(join(doppel.home, "store/uploads"))).toEqual([]);
  }

  async function expectSameAsDisk(doppel: Doppel): Promise<void> {
    const raw = join(doppel.home, "cut.raw");
    await doppel.json("export", "cut", "-o", raw);
    await must("cmp", raw, source.image.path);
    rmSync(raw);
  }

  it("twice, by the network and by Ctrl-C, sends no byte a second time, and shows nothing until it is whole", async () => {
    using doppel = new Doppel();
    expect(await cutShort(doppel, 8 * MIB, () => source.sshd.cutConnections())).toMatch(/kept \S+ MiB/);
    await expectNothingVisible(doppel);
    // Not collected: the next capture needs it.
    expect(await doppel.json("images", "gc", "--grace", "0s")).toMatchObject({
      quarantinedBlobs: 0,
      blobs: 0,
    });
    const before = await doppel.json(...args, "--dry-run");
    const [first] = before.comparisons as { with: string; knownBytes: number }[];
    expect(first).toMatchObject({ with: "interrupted" });
    expect(first?.knownBytes).toBeGreaterThanOrEqual(8 * MIB);

    expect(await cutShort(doppel, 8 * MIB, (pid) => process.kill(pid, "SIGINT"))).toMatch(/kept \S+ MiB/);
    await expectNothingVisible(doppel);
    const again = await doppel.json(...args, "--dry-run");
    const [second] = again.comparisons as { knownBytes: number }[];
    expect(second?.knownBytes).toBeGreaterThanOrEqual((first?.knownBytes ?? 0) + 8 * MIB);

    const last = (await doppel.json(...args)) as { sentBytes: number; sameBytes: number; parent: unknown };
    expect(last).toMatchObject({ sameBytes: second?.knownBytes, parent: null });
    expect(last.sentBytes).toBeLessThan(64 * MIB - last.sameBytes + MIB);
    await expectSameAsDisk(doppel);
    expect((await doppel.run("images", "verify", "cut")).code).toBe(0);
    const whole = await doppel.json(...args, "--dry-run");
    expect(whole.comparisons).toMatchObject([{ with: null }]);
  });

  it("is given up when told so", async () => {
    using doppel = new Doppel();
    await cutShort(doppel, 4 * MIB, () => source.sshd.cutConnections());
    const [gc, now] = [
      ["images", "gc"],
      ["--grace", "0s"],
    ];
    expect(await doppel.json(...gc, ...now, "--interrupted", "--dry-run")).toMatchObject({ blobs: 2 });
    expect(await doppel.json(...gc, ...now)).toMatchObject({ blobs: 0 });
    expect(await doppel.json(...gc, ...now, "--interrupted")).toMatchObject({ blobs: 2 });
    expect(readdirSync(join(doppel.home, "store/blobs/sha256"))).toEqual([]);
    expect(await doppel.json(...args, "--dry-run")).toMatchObject({ comparisons: [{ with: null }] });
  });
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage, fillAndFragment } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { agentAtWork, bytesArrived, Doppel, loginTo, must, possible, runCommand } from "./doppel.ts";

const MIB = 1024 * 1024;

describe.skipIf(!possible)("a mounted disk", () => {
  let sshd: Sshd;
  let image: DiskImage;
  let disk: string;
  let folder: string;
  let args: string[];

  beforeAll(async () => {
    sshd = await Sshd.start();
    image = new DiskImage(256 * MIB);
    await must("mkfs.ext4", "-q", "-F", image.path);
    disk = image.attach();
    folder = image.mount(disk);
    await must("dd", "if=/dev/urandom", `of=${join(folder, "random")}`, "bs=1M", "count=40", "status=none");
    fillAndFragment(folder, 3, 40);
    args = ["capture", ...loginTo(sshd), "--disk", disk, "--name", "mounted"];
  });

  afterAll(async () => {
    await runCommand("fsfreeze", ["--unfreeze", folder]);
    image[Symbol.dispose]();
    await sshd[Symbol.asyncDispose]();
  });

  /** Writes a file from another process, as a frozen file system would never let this one go on. */
  async function writeOnceThawed(): Promise<void> {
    const writer = spawn(
      "dd",
      ["if=/dev/zero", `of=${join(folder, "probe")}`, "bs=4k", "count=1", "conv=fsync"],
      {
        stdio: "ignore",
      },
    );
    const [code] = await once(writer, "exit");
    expect(code).toBe(0);
  }

  it("is fuzzy when it was written to meanwhile, and says so before", async () => {
    using doppel = new Doppel();
    expect(await doppel.json(...args, "--dry-run")).toMatchObject({ expectedGrade: "fuzzy" });
    expect(await doppel.json(...args)).toMatchObject({ grade: "fuzzy", frozenMilliseconds: null });
    expect(await doppel.json("images", "show", "mounted")).toMatchObject({ grade: "fuzzy" });
  });

  it("is not captured offline while it can be written (exit 3)", async () => {
    using doppel = new Doppel();
    const result = await doppel.run(...args, "--mode", "offline");
    expect(result).toMatchObject({ code: 3, stderr: expect.stringContaining("is not offline") });
    expect(result.stderr).toContain(folder);
    expect(await doppel.json("images", "ls")).toEqual([]);
  });

  it("is never frozen in fuzzy mode: what cannot be relied on is taken whole", async () => {
    using doppel = new Doppel();
    const plan = await doppel.json(...args, "--mode", "fuzzy", "--dry-run");
    expect(plan).toMatchObject({ expectedGrade: "fuzzy", verdict: { notes: [{ code: "taken-whole" }] } });
  });

  it("is frozen for the whole copy on request: a sound file system, and a grade that says so", async () => {
    using doppel = new Doppel();
    const result = await doppel.json(...args, "--freeze");
    expect(result).toMatchObject({ grade: "frozen", warnings: [] });
    expect(result.frozenMilliseconds).toBeGreaterThan(0);
    await writeOnceThawed();
    const raw = join(image.folder, "frozen.raw");
    await doppel.json("export", "mounted", "-o", raw);
    // What fsfreeze leaves on the disk needs no more than the journal's replay.
    const { code, stdout } = await runCommand("e2fsck", ["-fy", raw]);
    expect({ code, stdout }).toMatchObject({ code: expect.toBeOneOf([0, 1]) });
    expect(stdout).not.toMatch(/UNEXPECTED|Fix\?/);
  });

  it("thaws when the agent is killed", async () => {
    using doppel = new Doppel();
    const running = doppel.start(...args, "--freeze", "--limit-rate", "4M");
    const pid = await agentAtWork(doppel);
    // Frozen now: another freeze fails.
    expect((await runCommand("fsfreeze", ["--freeze", folder])).stderr).toMatch(/busy/i);
    process.kill(pid, "SIGKILL");
    expect((await running.ended).code).toBe(1);
    await writeOnceThawed();
  });

  it("thaws when the connection is cut", async () => {
    using doppel = new Doppel();
    const running = doppel.start(...args, "--freeze", "--limit-rate", "4M");
    await bytesArrived(doppel, MIB);
    await sshd.cutConnections();
    expect((await running.ended).code).toBe(1);
    await writeOnceThawed();
  });

  it("thaws when the budget is over; the image is then fuzzy, and a warning says why", async () => {
    using doppel = new Doppel();
    const running = doppel.start(
      ...args,
      "--freeze",
      "--freeze-budget",
      "2s",
      "--limit-rate",
      "8M",
      "--json",
    );
    await bytesArrived(doppel, MIB);
    await writeOnceThawed();
    // Thawed while the copy goes on.
    expect(running.child.exitCode).toBeNull();
    const { code, stdout } = await running.ended;
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      grade: "fuzzy",
      warnings: [expect.stringContaining("budget")],
    });
  });

  it("stays frozen when another program froze it: the capture fails and does not thaw it", async () => {
    using doppel = new Doppel();
    await must("fsfreeze", "--freeze", folder);
    try {
      const result = await doppel.run(...args, "--freeze", "--mode", "auto");
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("freeze-failed") });
    } finally {
      await must("fsfreeze", "--unfreeze", folder);
    }
    writeFileSync(join(folder, "after"), "writable again");
  });
});

describe.skipIf(!possible)("a mounted file system that cannot be frozen", () => {
  let sshd: Sshd;
  let image: DiskImage;
  let folder: string;
  let args: string[];

  beforeAll(async () => {
    sshd = await Sshd.start();
    image = new DiskImage(128 * MIB);
    await must("mkntfs", "--quiet", "--fast", "--force", image.path);
    const disk = image.attach();
    folder = image.mount(disk);
    await must("dd", "if=/dev/urandom", `of=${join(folder, "random")}`, "bs=1M", "count=40", "status=none");
    await must("sync");
    args = ["capture", ...loginTo(sshd), "--disk", disk, "--name", "unfrozen", "--freeze", "--json"];
  });

  afterAll(async () => {
    image[Symbol.dispose]();
    await sshd[Symbol.asyncDispose]();
  });

  it("is of one instant when nothing was written to it", async () => {
    using doppel = new Doppel();
    expect(await doppel.json(...args)).toMatchObject({
      grade: "crash",
      warnings: [expect.stringContaining(`${folder} cannot be frozen`)],
    });
  });

  it("is fuzzy when it was written to meanwhile, and a warning says so", async () => {
    using doppel = new Doppel();
    const running = doppel.start(...args, "--limit-rate", "8M");
    await bytesArrived(doppel, MIB);
    await must(
      "dd",
      "if=/dev/urandom",
      `of=${join(folder, "more")}`,
      "bs=64k",
      "count=1",
      "conv=fsync",
      "status=none",
    );
    const { code, stdout } = await running.ended;
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      grade: "fuzzy",
      warnings: [expect.stringContaining("was written to meanwhile")],
    });
  });
});

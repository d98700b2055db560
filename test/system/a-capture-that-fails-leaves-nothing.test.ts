import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { type CommandResult, Doppel, must, packageRoot, runCommand } from "./doppel.ts";

const MIB = 1024 * 1024;
const possible = (process.getuid?.() === 0 && Sshd.available()) || process.env.CI !== undefined;

describe.skipIf(!possible)("a capture that fails half-way", () => {
  let sshd: Sshd;
  let image: DiskImage;
  let args: string[];

  beforeAll(async () => {
    sshd = await Sshd.start();
    image = new DiskImage(64 * MIB);
    await must(
      "dd",
      "if=/dev/urandom",
      `of=${image.path}`,
      "bs=1M",
      "count=64",
      "status=none",
      "conv=notrunc",
    );
    const login = [sshd.target, "--ssh-config", sshd.sshConfig(), "--identity", sshd.userKey];
    args = ["capture", ...login, "--disk", image.attach({ readOnly: true }), "--name", "half"];
  });

  afterAll(async () => {
    image[Symbol.dispose]();
    await sshd[Symbol.asyncDispose]();
  });

  /** Starts a slow capture, calls `disturb` once its agent runs, and returns how it ended. */
  async function disturbed(
    doppel: Doppel,
    disturb: (agentPid: number) => Promise<void> | void,
  ): Promise<CommandResult> {
    const running = doppel.run(...args, "--limit-rate", "4M");
    let pid = 0;
    while (pid === 0) pid = Number((await runCommand("pgrep", ["-n", "-x", "doppel-agent"])).stdout.trim());
    // Bytes on their way: a temporary blob has grown.
    const uploads = join(doppel.home, "store/uploads");
    for (let found = false; !found; ) {
      const sizes = await runCommand("bash", ["-c", `stat -c %s '${uploads}'/* 2>/dev/null`]);
      found = sizes.stdout.split("\n").some((size) => Number(size) > 1024 * 1024);
    }
    await disturb(pid);
    return await running;
  }

  async function expectNothingLeft(doppel: Doppel): Promise<void> {
    expect(await doppel.json("images", "ls")).toEqual([]);
    expect(readdirSync(join(doppel.home, "store/uploads"))).toEqual([]);
    await expect
      .poll(async () => (await runCommand("pgrep", ["-x", "doppel-agent"])).stdout, { timeout: 40_000 })
      .toBe("");
  }

  it("because the connection was cut: says how much had come, leaves no agent", async () => {
    using doppel = new Doppel();
    const result = await disturbed(doppel, () => sshd.cutConnections());
    expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/connection-lost/) });
    await expectNothingLeft(doppel);
  });

  it("because the agent was killed: says how it ended", async () => {
    using doppel = new Doppel();
    const result = await disturbed(doppel, (pid) => void process.kill(pid, "SIGKILL"));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/agent-ended/) });
    await expectNothingLeft(doppel);
  });

  it("because the store's disk is full: says so with its code", async () => {
    const folder = mkdtempSync(join(tmpdir(), "doppel-full-"));
    mkdirSync(join(folder, "home"));
    await must("mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "none", join(folder, "home"));
    try {
      const env = { DOPPEL_HOME: join(folder, "home") };
      const result = await runCommand(join(packageRoot, "bin/doppel"), args, env);
      expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/no space left.*\[ENOSPC\]/) });
      const listed = await runCommand(join(packageRoot, "bin/doppel"), ["images", "ls", "--json"], env);
      expect(JSON.parse(listed.stdout)).toEqual([]);
      expect(readdirSync(join(folder, "home/store/uploads"))).toEqual([]);
    } finally {
      await must("umount", join(folder, "home"));
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

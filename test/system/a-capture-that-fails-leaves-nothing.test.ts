import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  agentAtWork,
  type CommandResult,
  Doppel,
  expectNothingLeft,
  must,
  packageRoot,
  possible,
  type RunningCommand,
  runCommand,
  Source,
} from "./doppel.ts";

describe.skipIf(!possible)("a capture that fails half-way", () => {
  let source: Source;
  let args: string[];

  beforeAll(async () => {
    source = await Source.start(64);
    args = [...source.capture, "--name", "half"];
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
  });

  /** Starts a slow capture, calls `disturb` once bytes have arrived, and returns how it ended. */
  async function disturbed(
    doppel: Doppel,
    disturb: (agentPid: number, running: RunningCommand) => Promise<void> | void,
  ): Promise<CommandResult> {
    const running = doppel.start(...args, "--limit-rate", "4M");
    const pid = await agentAtWork(doppel);
    await disturb(pid, running);
    return await running.ended;
  }

  it("because the connection was cut: says how much had come, leaves no agent", async () => {
    using doppel = new Doppel();
    const result = await disturbed(doppel, () => source.sshd.cutConnections());
    expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/connection-lost/) });
    await expectNothingLeft(doppel);
  });

  it("because the agent was killed: says how it ended", async () => {
    using doppel = new Doppel();
    const result = await disturbed(doppel, (pid) => void process.kill(pid, "SIGKILL"));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/agent-ended/) });
    await expectNothingLeft(doppel);
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "because of %s: ends with exit code 130",
    async (name) => {
      using doppel = new Doppel();
      const result = await disturbed(doppel, (_, { child }) => void child.kill(name));
      expect(result).toMatchObject({ code: 130, stdout: "", stderr: expect.stringMatching(/interrupted/) });
      await expectNothingLeft(doppel);
    },
  );

  it("because the command was killed: the next gc takes what it left, and the name is free", async () => {
    using doppel = new Doppel();
    const result = await disturbed(doppel, (_, { child }) => void child.kill("SIGKILL"));
    expect(result.code).toBe(-1);
    expect(readdirSync(join(doppel.home, "store/uploads"))).not.toEqual([]);
    expect(await doppel.json("images", "gc")).toMatchObject({ uploads: 2 });
    await expectNothingLeft(doppel);
    await doppel.json(...args);
    expect(await doppel.json("images", "ls")).toMatchObject([{ name: "half" }]);
  });

  it("because the command hangs: the agent ends by itself after its time limit", async () => {
    using doppel = new Doppel();
    const running = doppel.start(...args, "--limit-rate", "4M");
    const pid = await agentAtWork(doppel);
    running.child.kill("SIGSTOP");
    await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 60_000 }).toBe(false);
    running.child.kill("SIGCONT");
    expect(await running.ended).toMatchObject({ code: 1, stdout: "" });
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

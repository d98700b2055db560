import { type ChildProcess, type ExecFileException, execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";

export const packageRoot = resolve(import.meta.dirname, "../..");

/** Loop devices, mounts and sshd need root; CI has it, so there a missing right is a failure. */
export const possible = (process.getuid?.() === 0 && Sshd.available()) || process.env.CI !== undefined;

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end, whatever its exit code. */
export function runCommand(
  file: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<CommandResult> {
  return startCommand(file, args, env).ended;
}

export interface RunningCommand {
  child: ChildProcess;
  ended: Promise<CommandResult>;
}

/** Starts a program; `ended` tells how it ended, whatever its exit code. */
export function startCommand(file: string, args: string[], env: Record<string, string> = {}): RunningCommand {
  const options = { env: { ...process.env, ...env }, maxBuffer: 256 * 1024 * 1024 };
  let tell: (result: CommandResult) => void = () => {};
  const ended = new Promise<CommandResult>((resolve) => {
    tell = resolve;
  });
  const child = execFile(file, args, options, (error: ExecFileException | null, stdout, stderr) => {
    const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
    tell({ code, stdout, stderr });
  });
  return { child, ended };
}

/** Runs a program that must succeed, and returns its standard output. */
export async function must(file: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(file, args);
  if (code !== 0) throw new Error(`${file} ${args.join(" ")} ended with ${code}: ${stderr}`);
  return stdout;
}

/** The command as a user runs it, with a store of its own. */
export class Doppel implements Disposable {
  readonly home = mkdtempSync(join(tmpdir(), "doppel-home-"));

  run(...args: string[]): Promise<CommandResult> {
    return this.start(...args).ended;
  }

  start(...args: string[]): RunningCommand {
    return this.startAs({}, ...args);
  }

  /** Runs a command that must succeed and parses the one JSON document that it prints. */
  json(...args: string[]): Promise<Record<string, unknown>> {
    return this.jsonAs({}, ...args);
  }

  /** As `run`, in a session without a terminal, whatever this process has. */
  runWithoutTerminal(...args: string[]): Promise<CommandResult> {
    const words = ["-w", join(packageRoot, "bin/doppel"), ...args];
    return runCommand("setsid", words, { DOPPEL_HOME: this.home });
  }

  /** As `run`, with more variables of the environment: another user's home. */
  runAs(env: Record<string, string>, ...args: string[]): Promise<CommandResult> {
    return this.startAs(env, ...args).ended;
  }

  startAs(env: Record<string, string>, ...args: string[]): RunningCommand {
    return startCommand(join(packageRoot, "bin/doppel"), args, { ...env, DOPPEL_HOME: this.home });
  }

  async jsonAs(env: Record<string, string>, ...args: string[]): Promise<Record<string, unknown>> {
    const { code, stdout, stderr } = await this.runAs(env, ...args, "--json");
    if (code !== 0) throw new Error(`doppel ${args.join(" ")} ended with ${code}: ${stderr}`);
    return JSON.parse(stdout);
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** A machine reached over SSH (this one) with a small disk of bytes that cannot be compressed. */
export class Source implements AsyncDisposable {
  readonly sshd: Sshd;
  readonly image: DiskImage;
  readonly disk: string;

  private constructor(sshd: Sshd, image: DiskImage) {
    this.sshd = sshd;
    this.image = image;
    this.disk = image.attach({ readOnly: true });
  }

  static async start(sizeMib: number): Promise<Source> {
    const image = new DiskImage(sizeMib * 1024 * 1024);
    const count = `count=${sizeMib}`;
    await must("dd", "if=/dev/urandom", `of=${image.path}`, "bs=1M", count, "status=none", "conv=notrunc");
    return new Source(await Sshd.start(), image);
  }

  /** Target and options that log in. */
  get login(): string[] {
    return loginTo(this.sshd);
  }

  /** Words that capture the disk, but for the name. */
  get capture(): string[] {
    return ["capture", ...this.login, "--disk", this.disk];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sshd[Symbol.asyncDispose]();
    this.image[Symbol.dispose]();
  }
}

/** Target and options that log in to a server of the tests. */
export function loginTo(sshd: Sshd): string[] {
  return [sshd.target, "--ssh-config", sshd.sshConfig(), "--identity", sshd.userKey];
}

/** Returns once a temporary blob of the store has grown past `bytes`. */
export async function bytesArrived(doppel: Doppel, bytes: number): Promise<void> {
  const uploads = join(doppel.home, "store/uploads");
  const largest = () => {
    const names = existsSync(uploads) ? readdirSync(uploads) : [];
    return Math.max(
      0,
      ...names.map((name) => statSync(join(uploads, name), { throwIfNoEntry: false })?.size ?? 0),
    );
  };
  await expect.poll(largest, { timeout: 60_000, interval: 20 }).toBeGreaterThan(bytes);
}

/** The process id of the agent of the one capture that runs, once a MiB of it has come. */
export async function agentAtWork(doppel: Doppel): Promise<number> {
  await bytesArrived(doppel, 1024 * 1024);
  // The oldest: while it keeps a file system frozen, a child of its own waits to thaw it should it die.
  return Number(await must("pgrep", "-o", "-x", "doppel-agent"));
}

/** Checks that no agent runs, that its file is gone, and that nothing can be seen in the store. */
export async function expectNothingLeft(doppel: Doppel): Promise<void> {
  const gone = async () => (await runCommand("pgrep", ["-x", "doppel-agent"])).stdout;
  await expect.poll(gone, { timeout: 30_000 }).toBe("");
  const folders = ["/tmp", "/var/tmp", "/run/user/0"].filter((folder) => existsSync(folder));
  const files = folders.flatMap((folder) => readdirSync(folder));
  expect(files.filter((name) => name.startsWith("doppel-agent-"))).toEqual([]);
  expect(await doppel.json("images", "ls")).toEqual([]);
  expect(readdirSync(join(doppel.home, "store/uploads"))).toEqual([]);
}

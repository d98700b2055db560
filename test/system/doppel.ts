import { type ExecFileException, execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const packageRoot = resolve(import.meta.dirname, "../..");

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
  return new Promise((done) => {
    const options = { env: { ...process.env, ...env }, maxBuffer: 256 * 1024 * 1024 };
    execFile(file, args, options, (error: ExecFileException | null, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      done({ code, stdout, stderr });
    });
  });
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
    return runCommand(join(packageRoot, "bin/doppel"), args, { DOPPEL_HOME: this.home });
  }

  /** Runs a command that must succeed and parses the one JSON document that it prints. */
  async json(...args: string[]): Promise<Record<string, unknown>> {
    const { code, stdout, stderr } = await this.run(...args, "--json");
    if (code !== 0) throw new Error(`doppel ${args.join(" ")} ended with ${code}: ${stderr}`);
    return JSON.parse(stdout);
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

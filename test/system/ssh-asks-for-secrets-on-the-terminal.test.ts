import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const SCRIPT = "/usr/bin/script";

/** Asks with terminalPrompt while stdin and stdout are something else, and says what came. */
const PROGRAM = `
import { terminalPrompt } from "./ssh/terminal-prompt.js";
try {
  const question = { text: "Pass\\u001b[2Jphrase: ", hidden: process.argv[2] !== "shown" };
  const signal = process.argv[2] === "aborted" ? AbortSignal.timeout(300) : undefined;
  const answer = await terminalPrompt(question, signal);
  console.error("answer=" + JSON.stringify(answer ?? null));
} catch (error) {
  console.error("error=" + (error.code ?? "") + error.name);
}
`;

describe.skipIf(!existsSync(SCRIPT) && !process.env.CI)("a secret", () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "doppel-prompt-"));
    const files = ["src/ssh/terminal-prompt.ts"].map((file) => resolve(file));
    const compilerOptions = {
      noEmit: false,
      outDir: folder,
      rootDir: resolve("src"),
      typeRoots: [resolve("node_modules/@types")],
    };
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({ extends: resolve("tsconfig.json"), compilerOptions, files, include: [] }),
    );
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    symlinkSync(resolve("node_modules"), join(folder, "node_modules"));
    execFileSync(process.execPath, [resolve("node_modules/typescript/bin/tsc"), "-p", folder], {
      stdio: "pipe",
    });
    writeFileSync(join(folder, "ask.js"), PROGRAM);
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  /** Types `keys` at the prompt, on a terminal of its own; returns all that the terminal showed. */
  async function typed(keys: string, kind: "hidden" | "shown" | "aborted"): Promise<string> {
    const command = `${process.execPath} ${join(folder, "ask.js")} ${kind} </dev/null`;
    const terminal = spawn(SCRIPT, ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
    let shown = "";
    for await (const chunk of terminal.stdout) {
      const asked = shown.includes("phrase: ");
      shown += String(chunk);
      if (!asked && shown.includes("phrase: ")) terminal.stdin.write(keys);
    }
    return shown;
  }

  test("is read without being shown, and erasing works", async () => {
    const shown = await typed("wrong\u0015open sesamx\u007fe\r", "hidden");
    expect(shown).toContain('answer="open sesame"');
    expect(shown.replace('answer="open sesame"', "")).not.toContain("sesam");
  });

  test("interrupts with Ctrl-C", async () => {
    expect(await typed("half\u0003", "hidden")).toContain("error=interruptedDoppelError");
  });

  test("is no longer waited for after an abort, and the terminal echoes again", async () => {
    expect(await typed("never finished", "aborted")).toMatch(/error=\d*TimeoutError/);
  });

  test("and what is none is shown while typed", async () => {
    const shown = await typed("blue\r", "shown");
    expect(shown.match(/blue/g)).toHaveLength(2);
    expect(shown).toContain('answer="blue"');
  });

  test("a server's question cannot steer the terminal", async () => {
    expect(await typed("x\r", "hidden")).not.toContain("\u001b");
  });

  test("there is nobody to ask without a terminal", () => {
    const program = [process.execPath, join(folder, "ask.js"), "hidden"];
    const shown = execFileSync("setsid", ["--wait", "sh", "-c", '"$@" 2>&1', "sh", ...program], {
      encoding: "utf8",
    });
    expect(shown).toBe("answer=null\n");
  });
});

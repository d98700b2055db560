import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { must, packageRoot, runCommand } from "./doppel.ts";

const SERVICE = "doppel-firstboot";
const PROGRAM = `C:\\Program Files\\Doppel\\${SERVICE}.exe`;

/** The service for the first boot of Windows guests, under wine. */
describe("the first-boot service", () => {
  const prefix = mkdtempSync(join(tmpdir(), "doppel-wine-"));
  const folder = join(prefix, "drive_c/Program Files/Doppel");
  const env = {
    WINEPREFIX: prefix,
    WINEARCH: "win64",
    WINEDEBUG: "-all",
    WINEDLLOVERRIDES: "mscoree=,mshtml=",
  };
  const wine = (...args: string[]) => runCommand("wine", args, env);
  const log = () => readFileSync(join(folder, "log.txt"), "utf8");
  const script = (name: string, ...lines: string[]) =>
    writeFileSync(join(folder, "scripts", name), lines.map((line) => `@${line}\r\n`).join(""));

  beforeAll(async () => {
    expect((await wine("wineboot", "-i")).code).toBe(0);
  });
  beforeEach(() => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(join(folder, "scripts"), { recursive: true });
    cpSync(join(packageRoot, `native/build/windows/x86_64/${SERVICE}.exe`), join(folder, `${SERVICE}.exe`));
  });
  afterAll(async () => {
    await runCommand("wineserver", ["-k"], env);
    rmSync(prefix, { recursive: true, force: true });
  });

  it("runs scripts in the order of their names, keeps what they say, and nothing else in the folder", async () => {
    script("0002-second.cmd", "echo second");
    script("0001 with a blank.cmd", "echo first in %CD%", "exit /b 7");
    script("readme.txt", "echo never");
    expect((await wine(PROGRAM, "--console")).code).toBe(0);
    expect(log()).toMatch(
      /starts 0001 with a blank\.cmd 0\r\nfirst in C:\\Program Files\\Doppel\r\n.*ended 0001 with a blank\.cmd 7\r\n.*starts 0002-second\.cmd 0\r\nsecond\r\n.*ended 0002-second\.cmd 0\r\n$/,
    );
    expect(readdirSync(join(folder, "scripts"))).toEqual(["readme.txt"]);
    expect(readdirSync(join(folder, "done")).sort()).toEqual(["0001 with a blank.cmd", "0002-second.cmd"]);
  });

  it("stops where a script wants a restart, and goes on behind it the next time", async () => {
    script("0001-a.cmd", "exit /b 3010");
    script("0002-b.cmd", "echo after the restart");
    // 3010 as wine hands it on.
    expect((await wine(PROGRAM, "--console")).code).toBe(3010 % 256);
    expect(log()).not.toContain("0002-b.cmd");
    expect((await wine(PROGRAM, "--console")).code).toBe(0);
    expect(log().match(/starts 0001-a\.cmd/g)).toHaveLength(1);
    expect(log()).toContain("after the restart");
  });

  it("does not run again a script in whose midst the power went", async () => {
    script("0001-a.cmd", `echo begun`, `taskkill /f /im ${SERVICE}.exe`, "echo ended");
    await wine(PROGRAM, "--console");
    expect((await wine(PROGRAM, "--console")).code).toBe(0);
    expect(log().match(/begun/g)).toHaveLength(1);
  });

  it("runs as a service when the machine starts, and removes itself", async () => {
    script("0001-s.cmd", "echo as a service");
    const created = await wine("sc", "create", SERVICE, "binPath=", `"${PROGRAM}"`, "start=", "auto");
    expect(created.code).toBe(0);
    // The next start of anything under wine is the boot.
    await runCommand("wineserver", ["-k", "-w"], env);
    await expect
      .poll(async () => (await wine("sc", "query", SERVICE)).code, { timeout: 60_000, interval: 200 })
      .not.toBe(0);
    expect(log()).toMatch(/as a service\r\n.*ended 0001-s\.cmd 0/);
    expect(existsSync(join(folder, "scripts/0001-s.cmd"))).toBe(false);
    expect(await must("file", join(folder, `${SERVICE}.exe`))).toContain("PE32+ executable");
  });
});

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeKey, Sshd } from "../../fixtures/sshd.ts";
import { Doppel, loginTo, packageRoot, possible, runCommand, Source } from "./doppel.ts";

describe.skipIf(!possible)("a capture", () => {
  let source: Source;
  const doppel = new Doppel();

  beforeAll(async () => {
    source = await Source.start(48);
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  it("writes a line every few seconds where there is no terminal, and one JSON document to stdout", async () => {
    const args = [...source.capture, "--name", "lines", "--limit-rate", "8M", "--json"];
    const { code, stdout, stderr } = await doppel.run(...args);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ name: "lines:latest", grade: "offline" });
    const lines = stderr.split("\n").filter((line) => line.startsWith("capture "));
    expect(lines.length).toBeGreaterThanOrEqual(1);
    expect(lines.length).toBeLessThanOrEqual(4);
    for (const line of lines) {
      expect(line).toMatch(
        /^capture \d+% [\d.]+ MiB of 48\.0 MiB [\d.]+ MiB\/s .* left sent [\d.]+ MiB at [\d.]+ MiB\/s$/,
      );
    }
  });

  it("draws a bar on a terminal: bytes, percent, rates, time left", async () => {
    const args = [...source.capture, "--name", "bar", "--limit-rate", "8M"];
    const command = [join(packageRoot, "bin/doppel"), ...args].map((word) => `'${word}'`).join(" ");
    const { code, stdout } = await runCommand("script", ["-qec", command, "/dev/null"], {
      DOPPEL_HOME: doppel.home,
    });
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /capture .*\d+% [\d.]+ MiB of 48\.0 MiB [\d.]+ MiB\/s .* left sent [\d.]+ MiB at [\d.]+ MiB\/s/,
    );
    expect(stdout).toMatch(/bar:latest: sha256:[0-9a-f]{64}/);
  });

  it("sends no faster than it may", async () => {
    const args = [...source.capture, "--name", "slow", "--limit-rate", "16M"];
    const result = await doppel.json(...args);
    // 48 MiB of random bytes at 16 MiB/s.
    expect(result.elapsedMilliseconds).toBeGreaterThan(2500);
  });

  it("uses no more of the processors than it may", async () => {
    const level = ["--level", "15"];
    const free = await doppel.json(...source.capture, ...level, "--name", "free");
    const limited = await doppel.json(...source.capture, ...level, "--name", "limited", "--limit-cpu", "10%");
    // With N cores, a tenth of them all against at least one whole core.
    expect(Number(limited.elapsedMilliseconds)).toBeGreaterThan(1.5 * Number(free.elapsedMilliseconds));
    expect(limited.digest).not.toBe(free.digest);
  });

  it.each([
    [["--level", "20"], "is not a level"],
    [["--limit-rate", "fast"], "is not a size"],
    [["--limit-cpu", "200%"], "is not a percentage"],
    [["--freeze-budget", "soon"], "is not a duration"],
    [["--mode", "fuzzy", "--freeze"], "leave out --freeze"],
    [["--mode", "sideways"], "offline, fuzzy"],
  ])("with %j is refused before anything is touched (exit 2)", async (flags, says) => {
    const { code, stderr } = await doppel.run(...source.capture, "--name", "x", ...flags);
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(says) });
  });

  it("of a name in a registry is refused (exit 2)", async () => {
    const { code, stderr } = await doppel.run(...source.capture, "--name", "host:5000/team/web1");
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining("reference-invalid") });
  });
});

describe.skipIf(!possible)("a machine that cannot be reached", () => {
  const doppel = new Doppel();
  afterAll(() => doppel[Symbol.dispose]());

  it.each(["capture", "inspect"])("because nobody listens: %s says where (exit 1)", async (verb) => {
    const name = verb === "capture" ? ["--name", "x"] : [];
    const result = await doppel.run(verb, "root@127.0.0.1:1", ...name);
    expect(result).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/127\.0\.0\.1.*ECONNREFUSED/),
    });
  });

  it("because its name is not known says which name", async () => {
    const result = await doppel.run("inspect", "root@no-such-host.invalid");
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("no-such-host.invalid") });
  });

  it("because its key is new, because it changed, because ours is refused: each says what to do", async () => {
    await using source = await Source.start(1);
    const { sshd } = source;
    const line = sshd.knownHostsLine();
    rmSync(sshd.knownHosts);
    const unknown = await doppel.run("inspect", ...source.login);
    expect(unknown).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/host-key-unknown[\s\S]*add it/),
    });
    await makeKey(join(sshd.folder, "other"), "ed25519");
    await makeKey(join(sshd.folder, "older"), "ed25519");
    const { stdout: older } = await runCommand("cut", ["-d ", "-f1,2", join(sshd.folder, "older.pub")]);
    writeFileSync(sshd.knownHosts, `[127.0.0.1]:${sshd.port} ${older}`);
    const changed = await doppel.run("inspect", ...source.login);
    expect(changed).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/HAS CHANGED[\s\S]*host-key-changed/),
    });
    writeFileSync(sshd.knownHosts, `${line}\n`);
    const [target = "", ...options] = source.login.slice(0, 3);
    const key = ["--identity", join(sshd.folder, "other")];
    const refused = await doppel.run("inspect", target, ...options, ...key);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("authentication-failed") });
  });

  it("because there is no sudo says what to allow, and captures nothing (exit 3)", async () => {
    await using sshd = await Sshd.start({ asNobody: true });
    const result = await doppel.run("capture", ...loginTo(sshd), "--name", "x");
    expect(result).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/NOPASSWD[\s\S]*no-sudo|no-sudo[\s\S]*NOPASSWD/),
    });
    expect(await doppel.json("images", "ls")).toEqual([]);
  });
});

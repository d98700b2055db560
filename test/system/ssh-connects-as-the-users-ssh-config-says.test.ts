import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Sshd } from "../../fixtures/sshd.ts";
import { openConnection } from "../../src/ssh/connect.ts";

describe.skipIf(!Sshd.available() && !process.env.CI)("a connection", () => {
  let sshd: Sshd;
  let behind: Sshd;

  beforeAll(async () => {
    sshd = await Sshd.start();
    behind = await Sshd.start({ hostKeyType: "ecdsa" });
  });

  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
    await behind?.[Symbol.asyncDispose]();
  });

  test("is made with a key, and words reach the program unchanged", async () => {
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    const words = ["", "a b", "it's", '"$HOME"', "`id`", "$(id)", "\\", "*", "ü\n", "-n", "a;b|c&d>e"];
    const { stdout, code } = await connection.run(["printf", "%s\\0", ...words]);
    expect(stdout.split("\0").slice(0, -1)).toEqual(words);
    expect(code).toBe(0);
  });

  test("carries input, both outputs and the exit code", async () => {
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    const result = await connection.run(["sh", "-c", "cat; echo problem >&2; exit 7"], { input: "hello" });
    expect(result).toEqual({ stdout: "hello", stderr: "problem\n", code: 7 });
  });

  test("follows a Host alias", async () => {
    const configFile = sshd.sshConfig(
      ...["Host box", "  HostName 127.0.0.1", `  Port ${sshd.port}`, `  User ${sshd.user}`],
      `  IdentityFile ${sshd.userKey}`,
    );
    const files = { home: sshd.home, configFile };
    await using connection = await openConnection("box", { files, agentSocket: null });
    expect(connection.name).toBe(`${sshd.user}@box`);
    expect((await connection.run(["echo", "here"])).stdout).toBe("here\n");
  });

  test("passes through a jump host, and each key on the way is verified", async () => {
    const lines = [
      ...["Host inner", "  HostName 127.0.0.1", `  Port ${behind.port}`, "  ProxyJump outer"],
      `  IdentityFile ${behind.userKey}`,
      ...["Host outer", "  HostName 127.0.0.1", `  Port ${sshd.port}`, `  IdentityFile ${sshd.userKey}`],
    ];
    const options = { files: { home: sshd.home, configFile: sshd.sshConfig(...lines) }, agentSocket: null };
    await expect(openConnection(`${sshd.user}@inner`, options)).rejects.toMatchObject({
      code: "host-key-unknown",
      message: expect.stringContaining(`port ${behind.port}`),
    });
    writeFileSync(sshd.knownHosts, `${sshd.knownHostsLine()}\n${behind.knownHostsLine()}\n`);
    await using connection = await openConnection(`${sshd.user}@inner`, options);
    const { stdout } = await connection.run(["sh", "-c", "echo $SSH_CONNECTION"]);
    expect(stdout).toMatch(new RegExp(`^127.0.0.1 \\d+ 127.0.0.1 ${behind.port}\n$`));
    // Only the first hop may be known: the inner host's key is refused when it is the outer's that is missing.
    writeFileSync(sshd.knownHosts, `${behind.knownHostsLine()}\n`);
    await expect(openConnection(`${sshd.user}@inner`, options)).rejects.toMatchObject({
      code: "host-key-unknown",
      message: expect.stringContaining(`port ${sshd.port}`),
    });
    writeFileSync(sshd.knownHosts, `${sshd.knownHostsLine()}\n`);
  });

  test("accepts a hashed known_hosts, as ssh-keygen hashes it", async () => {
    execFileSync("ssh-keygen", ["-q", "-H", "-f", sshd.knownHosts], { stdio: "ignore" });
    expect(readFileSync(sshd.knownHosts, "utf8")).toMatch(/^\|1\|/);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    expect((await connection.run(["true"])).code).toBe(0);
  });

  test("prefers the kinds of host key that are on record", async () => {
    await using several = await Sshd.start({ hostKeyType: "rsa", config: [`HostKey ${behind.hostKey}`] });
    await using connection = await openConnection(several.target, several.clientOptions);
    expect((await connection.run(["true"])).code).toBe(0);
  });

  test("tells the time limit from the command's own end", async () => {
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await expect(connection.run(["sleep", "600"], { timeoutMs: 300 })).rejects.toMatchObject({
      code: "remote-timeout",
    });
    expect((await connection.run(["sh", "-c", "kill -TERM $$"])).code).toBe(-1);
  });

  test("that has ended answers what is asked of its files, at once and with an error", async () => {
    const connection = await openConnection(sshd.target, sshd.clientOptions);
    const sftp = await connection.sftp();
    expect(await sftp.exists("/etc")).toBe(true);
    const [asked] = await Promise.all([sftp.exists("/etc"), connection.close()]);
    expect(asked).toBeTypeOf("boolean");
    expect(await sftp.exists("/etc")).toBe(false);
    await expect(sftp.unlink("/etc/no-such-file")).rejects.toThrow("the session has ended");
  }, 20_000);

  test("files go over, come back by checksum, and are removed", async () => {
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using sftp = await connection.sftp();
    const folder = join(sshd.folder, "private");
    const content = Buffer.alloc(3_000_001, "doppel");
    await sftp.mkdir(folder, 0o700);
    await sftp.writeNew(`${folder}/file`, content, 0o700);
    expect(readFileSync(`${folder}/file`).equals(content)).toBe(true);
    expect(await sftp.sha256(`${folder}/file`, content.length)).toBe(
      execFileSync("sha256sum", [`${folder}/file`], { encoding: "utf8" }).slice(0, 64),
    );
    await expect(sftp.writeNew(`${folder}/file`, content, 0o700)).rejects.toMatchObject({
      code: "sftp-failed",
    });
    await sftp.unlink(`${folder}/file`);
    await sftp.rmdir(folder);
    expect(await sftp.exists(folder)).toBe(false);
  });
});

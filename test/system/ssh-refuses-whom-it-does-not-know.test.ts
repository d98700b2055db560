import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeKey, Sshd } from "../../fixtures/sshd.ts";
import { openConnection } from "../../src/ssh/connect.ts";

const NOBODY_THERE = async () => undefined;

describe.skipIf(!Sshd.available() && !process.env.CI)("a host", () => {
  let sshd: Sshd;

  beforeAll(async () => {
    sshd = await Sshd.start();
  });

  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
  });

  test("whose key is not known is refused, with the command that adds the key", async () => {
    rmSync(sshd.knownHosts);
    const failure = await openConnection(sshd.target, sshd.clientOptions).catch((error: unknown) => error);
    const print = execFileSync("ssh-keygen", ["-lf", `${sshd.hostKey}.pub`], { encoding: "utf8" }).split(
      " ",
    )[1];
    expect(failure).toMatchObject({
      code: "host-key-unknown",
      exitCode: 3,
      message: expect.stringContaining(`ssh-ed25519 ${print}`),
      hint: expect.stringContaining(sshd.knownHosts),
    });
    const command = /add it: (.*)$/.exec((failure as { hint: string }).hint)?.[1];
    execFileSync("sh", ["-c", command ?? "false"]);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    expect((await connection.run(["true"])).code).toBe(0);
    // OpenSSH agrees that this is the line.
    execFileSync("ssh-keygen", ["-F", `[127.0.0.1]:${sshd.port}`, "-f", sshd.knownHosts]);
  });

  test("whose key has changed is refused loudly, with both fingerprints and the place of the old one", async () => {
    await makeKey(join(sshd.folder, "older"), "ed25519");
    const older = readFileSync(join(sshd.folder, "older.pub"), "utf8").split(" ").slice(0, 2).join(" ");
    writeFileSync(sshd.knownHosts, `# a comment\n[127.0.0.1]:${sshd.port} ${older}\n`);
    const prints = [`${sshd.hostKey}.pub`, join(sshd.folder, "older.pub")].map(
      (file) => execFileSync("ssh-keygen", ["-lf", file], { encoding: "utf8" }).split(" ")[1] as string,
    );
    const failure = await openConnection(sshd.target, sshd.clientOptions).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "host-key-changed", exitCode: 3 });
    const { message } = failure as Error;
    for (const fact of ["HAS CHANGED", ...prints, `${sshd.knownHosts} line 2`])
      expect(message).toContain(fact);
  });

  test("whose only known key is of another kind counts as changed", async () => {
    await makeKey(join(sshd.folder, "rsa"), "rsa");
    const rsa = readFileSync(join(sshd.folder, "rsa.pub"), "utf8").split(" ").slice(0, 2).join(" ");
    writeFileSync(sshd.knownHosts, `[127.0.0.1]:${sshd.port} ${rsa}\n`);
    await expect(openConnection(sshd.target, sshd.clientOptions)).rejects.toMatchObject({
      code: "host-key-changed",
    });
  });

  test("whose key is revoked is refused although it is known", async () => {
    const line = sshd.knownHostsLine();
    writeFileSync(sshd.knownHosts, `${line}\n@revoked * ${line.split(" ").slice(1).join(" ")}\n`);
    await expect(openConnection(sshd.target, sshd.clientOptions)).rejects.toMatchObject({
      code: "host-key-revoked",
      exitCode: 3,
    });
  });

  test("that nobody answers for keeps the system's code", async () => {
    const { clientOptions } = sshd;
    await expect(openConnection("x@127.0.0.1:1", clientOptions)).rejects.toMatchObject({
      code: "ECONNREFUSED",
      message: "127.0.0.1 port 1 cannot be reached: nothing listens there",
    });
    await expect(openConnection("x@does-not-exist.invalid", clientOptions)).rejects.toMatchObject({
      code: expect.stringMatching(/^(ENOTFOUND|EAI_AGAIN)$/),
      message: expect.stringContaining("does-not-exist.invalid port 22 cannot be reached"),
    });
  });

  test("that accepts and says nothing is given up after ConnectTimeout", async () => {
    const silent = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as { port: number };
    const files = { home: sshd.home, configFile: sshd.sshConfig("ConnectTimeout 1") };
    await expect(openConnection(`x@127.0.0.1:${port}`, { files })).rejects.toMatchObject({
      code: "host-unreachable",
    });
    await new Promise((resolve) => silent.close(resolve));
  });

  test("that does not speak SSH is named", async () => {
    const web = createServer((socket) => socket.resume().end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
    const { port } = web.address() as { port: number };
    await expect(openConnection(`x@127.0.0.1:${port}`, sshd.clientOptions)).rejects.toMatchObject({
      code: "ssh-handshake",
      message: expect.stringContaining(`127.0.0.1 port ${port}`),
    });
    await new Promise((resolve) => web.close(resolve));
  });
});

describe.skipIf(!Sshd.available() && !process.env.CI)("a user", () => {
  let sshd: Sshd;
  let locked: Sshd;

  beforeAll(async () => {
    sshd = await Sshd.start();
    locked = await Sshd.start({ passphrase: "open sesame" });
  });

  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
    await locked?.[Symbol.asyncDispose]();
  });

  test("with a key that the host does not accept learns what was tried", async () => {
    const other = join(sshd.folder, "other");
    await makeKey(other, "ecdsa");
    const attempt = openConnection(sshd.target, {
      ...sshd.clientOptions,
      identities: [other],
      prompt: NOBODY_THERE,
    });
    await expect(attempt).rejects.toMatchObject({
      code: "authentication-failed",
      message: expect.stringMatching(new RegExp(`tried: key ${other}; the server accepts: publickey`)),
    });
  });

  test("with a key file that is missing or no key is told so", async () => {
    const missing = { ...sshd.clientOptions, identities: [join(sshd.folder, "missing")] };
    await expect(openConnection(sshd.target, missing)).rejects.toMatchObject({ code: "ENOENT" });
    const notAKey = { ...sshd.clientOptions, identities: [`${sshd.userKey}.pub`] };
    await expect(openConnection(sshd.target, notAKey)).rejects.toMatchObject({ code: "identity-unreadable" });
  });

  test("with an encrypted key and no terminal is told to use an ssh-agent", async () => {
    const attempt = openConnection(locked.target, { ...locked.clientOptions, prompt: NOBODY_THERE });
    await expect(attempt).rejects.toMatchObject({
      code: "authentication-failed",
      message: expect.stringMatching(/user_key is encrypted and there is no terminal/),
    });
  });

  test("with an encrypted key is asked for its passphrase, and again when it was wrong", async () => {
    const answers = ["wrong", "open sesame"];
    const asked: { text: string; hidden: boolean }[] = [];
    const prompt = async (question: { text: string; hidden: boolean }) => {
      asked.push(question);
      return answers.shift();
    };
    await using connection = await openConnection(locked.target, { ...locked.clientOptions, prompt });
    expect((await connection.run(["true"])).code).toBe(0);
    expect(asked).toEqual(Array(2).fill({ text: `Passphrase for key ${locked.userKey}: `, hidden: true }));
  });

  test("is not asked for the passphrase of a key that the host does not accept", async () => {
    const options = { ...sshd.clientOptions, identities: [locked.userKey, sshd.userKey] };
    const prompt = () => Promise.reject(new Error("asked"));
    await using connection = await openConnection(sshd.target, { ...options, prompt });
    expect((await connection.run(["true"])).code).toBe(0);
  });

  test("whose key is in an ssh-agent needs no file, and no passphrase for the file", async () => {
    const agent = await startSshAgent(join(locked.folder, "agent"));
    try {
      const askpass = join(locked.folder, "askpass");
      writeFileSync(askpass, "#!/bin/sh\necho open sesame\n", { mode: 0o700 });
      const env = {
        ...process.env,
        SSH_AUTH_SOCK: agent.socket,
        SSH_ASKPASS: askpass,
        SSH_ASKPASS_REQUIRE: "force",
      };
      execFileSync("ssh-add", ["-q", locked.userKey], { env, stdio: "ignore" });
      const prompt = () => Promise.reject(new Error("asked"));
      for (const identities of [[], [locked.userKey]]) {
        const options = { ...locked.clientOptions, identities, agentSocket: agent.socket, prompt };
        await using connection = await openConnection(locked.target, options);
        expect((await connection.run(["true"])).code).toBe(0);
      }
      const configFile = locked.sshConfig("IdentitiesOnly yes", `IdentityFile ${sshd.userKey}`);
      const only = { files: { home: locked.home, configFile }, agentSocket: agent.socket, prompt };
      await expect(openConnection(locked.target, only)).rejects.toMatchObject({
        code: "authentication-failed",
        message: expect.not.stringContaining("ssh-agent"),
      });
    } finally {
      agent.stop();
    }
  });
});

async function startSshAgent(socket: string): Promise<{ socket: string; stop(): void }> {
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => agent.stdout.once("data", resolve));
  if (!existsSync(socket)) throw new Error("ssh-agent made no socket");
  return { socket, stop: () => void agent.kill() };
}

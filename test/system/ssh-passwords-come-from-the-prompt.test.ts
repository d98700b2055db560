import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2, { type AuthContext } from "ssh2";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { makeKey, Sshd } from "../../fixtures/sshd.ts";
import { type ConnectOptions, openConnection } from "../../src/ssh/connect.ts";

// OpenSSH checks passwords against the machine's own accounts, so here ssh2's server half plays the host.
describe.skipIf(!Sshd.available() && !process.env.CI)("a host that asks", () => {
  let folder: string;
  let server: ssh2.Server;
  let target: string;
  let options: ConnectOptions;
  let authenticate: (context: AuthContext) => void;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "doppel-password-"));
    await makeKey(join(folder, "host"), "ecdsa");
    server = new ssh2.Server({ hostKeys: [readFileSync(join(folder, "host"))] }, (client) => {
      client.on("error", () => {});
      client.on("authentication", (context) => authenticate(context));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const { port } = server.address() as AddressInfo;
    target = `me@127.0.0.1:${port}`;
    const [type, key] = readFileSync(join(folder, "host.pub"), "utf8").split(" ");
    writeFileSync(join(folder, "known_hosts"), `[127.0.0.1]:${port} ${type} ${key}\n`);
    writeFileSync(join(folder, "config"), "");
    const files = {
      home: folder,
      configFile: join(folder, "config"),
      knownHostsFiles: [join(folder, "known_hosts")],
    };
    options = { files, agentSocket: null };
  });

  afterEach(async () => {
    await new Promise<void>((resolve) => server.close(() => resolve()));
    rmSync(folder, { recursive: true });
  });

  test("for a password gets what was typed, at the third attempt too", async () => {
    authenticate = (context) => {
      if (context.method === "password" && context.password === "right") context.accept();
      else context.reject(["password"]);
    };
    const asked: unknown[] = [];
    const answers = ["wrong", "worse", "right"];
    const prompt = async (question: unknown) => {
      asked.push(question);
      return answers.shift();
    };
    await using connection = await openConnection(target, { ...options, prompt });
    expect(connection.name).toBe("me@127.0.0.1");
    expect(asked).toEqual(Array(3).fill({ text: "Password of me@127.0.0.1: ", hidden: true }));
  });

  test("for a password when there is no terminal is not answered", async () => {
    authenticate = (context) => context.reject(["password", "keyboard-interactive"]);
    const attempt = openConnection(target, { ...options, prompt: async () => undefined });
    await expect(attempt).rejects.toMatchObject({
      code: "authentication-failed",
      message: expect.stringMatching(/password \(no terminal to ask on\); the server accepts: password/),
    });
  });

  test("its own questions gets an answer to each, shown or hidden as it says", async () => {
    authenticate = (context) => {
      if (context.method !== "keyboard-interactive") return context.reject(["keyboard-interactive"]);
      const questions = [
        { prompt: "Token: ", echo: true },
        { prompt: "PIN: ", echo: false },
      ];
      context.prompt(questions, (given) => {
        if (given.join() === "123,456") context.accept();
        else context.reject(["keyboard-interactive"]);
      });
    };
    const asked: { text: string; hidden: boolean }[] = [];
    const prompt = async (question: { text: string; hidden: boolean }) => {
      asked.push(question);
      return question.text.includes("Token") ? "123" : "456";
    };
    await using _connection = await openConnection(target, { ...options, prompt });
    expect(asked).toEqual([
      { text: "me@127.0.0.1: Token: ", hidden: false },
      { text: "me@127.0.0.1: PIN: ", hidden: true },
    ]);
  });

  test("is left when the question is interrupted", async () => {
    authenticate = (context) => context.reject(["password"]);
    const interrupted = new Error("interrupted");
    const attempt = openConnection(target, { ...options, prompt: () => Promise.reject(interrupted) });
    await expect(attempt).rejects.toBe(interrupted);
  });

  test("is left when the command is aborted", async () => {
    authenticate = (context) => context.reject(["password"]);
    const controller = new AbortController();
    const reason = new Error("enough");
    const prompt = () =>
      new Promise<string>(() => {
        controller.abort(reason);
      });
    await expect(openConnection(target, { ...options, prompt, signal: controller.signal })).rejects.toBe(
      reason,
    );
  });
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeKey } from "../../fixtures/sshd.ts";
import { openConnection } from "../../src/ssh/connect.ts";

/** Longer than the server's kernel keeps a small packet back for an acknowledgement. */
const HELD_MS = 100;

/** An SSH server whose commands end before anybody can listen, behind a relay that joins what it sends. */
describe("a command that ends at once", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-quick-"));
  let server: InstanceType<typeof ssh2.Server>;
  let relay: ReturnType<typeof createTcpServer>;
  let port: number;

  beforeAll(async () => {
    await makeKey(join(folder, "host_key"), "ed25519");
    await makeKey(join(folder, "user_key"), "ed25519");
    server = new ssh2.Server({ hostKeys: [readFileSync(join(folder, "host_key"))] }, (client) => {
      client.on("error", () => {});
      client.on("authentication", (context) => context.accept());
      client.on("session", (accept) => {
        accept().on("exec", (acceptExec) => {
          const channel = acceptExec();
          channel.write("done\n");
          channel.exit(0);
          channel.end();
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // What the server sends within HELD_MS reaches the client as one piece.
    relay = createTcpServer((client) => {
      const upstream = connect((server.address() as AddressInfo).port, "127.0.0.1");
      client.pipe(upstream);
      const held: Buffer[] = [];
      upstream.on("data", (chunk: Buffer) => {
        if (held.push(chunk) > 1) return;
        setTimeout(() => client.write(Buffer.concat(held.splice(0))), HELD_MS);
      });
      upstream.on("close", () => client.destroy());
      for (const socket of [client, upstream]) socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
    port = (relay.address() as AddressInfo).port;
    mkdirSync(join(folder, ".ssh"));
    const key = readFileSync(join(folder, "host_key.pub"), "utf8").split(" ").slice(0, 2).join(" ");
    writeFileSync(join(folder, ".ssh/known_hosts"), `[127.0.0.1]:${port} ${key}\n`);
    const lines = [
      "Host *",
      `UserKnownHostsFile ${join(folder, ".ssh/known_hosts")}`,
      "GlobalKnownHostsFile none",
    ];
    writeFileSync(join(folder, ".ssh/config"), `${lines.join("\n")}\n`);
  });

  afterAll(() => {
    relay.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("is heard to the end: its output and its exit code", async () => {
    await using connection = await openConnection(`root@127.0.0.1:${port}`, {
      identities: [join(folder, "user_key")],
      files: { home: folder, configFile: join(folder, ".ssh/config") },
      agentSocket: null,
    });
    for (let run = 0; run < 5; run++)
      expect(await connection.run(["true"])).toMatchObject({ code: 0, stdout: "done\n" });
  });
});

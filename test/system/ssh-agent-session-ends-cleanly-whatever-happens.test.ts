import { execFileSync } from "node:child_process";
import {
  chmodSync,
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
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SFTP_SERVER, Sshd } from "../../fixtures/sshd.ts";
import { AgentSession, type CaptureRequest } from "../../src/agent/session.ts";
import { openConnection } from "../../src/ssh/connect.ts";
import { batchPayload } from "../unit/agent/agent-side.ts";
import { writeFakeAgent } from "./ssh-fake-agent.ts";

const REQUEST: CaptureRequest = {
  ...{ disks: ["/dev/null"], refreshMetadata: false, level: 3, threads: 0, pass: 0, freeze: null },
  ...{ limitRateBytesPerSecond: 0, limitCpuPercent: 0, onReadError: "stop", priority: "low" },
};

const BATCH = JSON.stringify(
  batchPayload({
    ...{ disk: 0, pass: 0, runs: [{ firstCluster: 0, count: 1 }], frames: [Buffer.alloc(60_000, 1)] },
  }).toString("base64"),
);
/** Sends clusters of ascending numbers until nobody reads on. */
const ENDLESS = `
  const batch = Buffer.from(${BATCH}, "base64");
  let cluster = 0;
  function more() {
    batch.writeUInt32LE(cluster++, 16);
    // A turn of the event loop between two: a pipe that is emptied at once must not keep messages from being heard.
    if (send(0x11, batch)) setImmediate(more);
    else process.stdout.once("drain", more);
  }
  onMessage = () => {
    send(0x10, { disk: 0, device: "/dev/null", sizeBytes: 2 ** 40, clusters: 2 ** 24, usedClusters: 2 ** 24 });
    more();
  };`;

describe.skipIf(!Sshd.available() && !process.env.CI)("an agent session", () => {
  let sshd: Sshd;
  let pidFile: string;
  const fake = (body: string, hello?: object) => writeFakeAgent(join(sshd.folder, "fake"), body, hello);

  beforeAll(async () => {
    sshd = await Sshd.start();
    pidFile = join(sshd.folder, "fake.pid");
  });

  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
  });

  test("asks for facts and plans, and leaves neither a process nor a file", async () => {
    const before = uploads();
    const agentBinary = fake(`onMessage = (type, payload) => {
      if (type === 0x81) send(0x02, { facts: true });
      if (type === 0x82) { send(0x1e, { code: "w", message: "a warning" }); send(0x03, JSON.parse(payload)); }
    }`);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    const warnings: string[] = [];
    const session = await AgentSession.open(connection, {
      agentBinary,
      onWarning: (warning) => warnings.push(warning.message),
    });
    const pid = agentPid(pidFile);
    expect(isRunning(pid)).toBe(true);
    expect(session.hello.version).toBe("fake");
    expect(await session.facts()).toEqual({ facts: true });
    const request = { disks: ["/dev/sda"], refreshMetadata: true };
    expect(await session.plan(request)).toEqual(request);
    expect(warnings).toEqual(["a warning"]);
    await session.close();
    expect(isRunning(pid)).toBe(false);
    expect(uploads()).toEqual(before);
  });

  test("removes the upload of an agent that did not", async () => {
    const before = uploads();
    const script = join(sshd.folder, "stubborn");
    writeFileSync(script, "#!/bin/sh\nexit 3\n");
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await expect(AgentSession.open(connection, { agentBinary: script })).rejects.toMatchObject({
      code: "agent-ended",
      message: expect.stringContaining("exit code 3"),
    });
    expect(uploads()).toEqual(before);
  });

  test("throws what the agent reports, with its code and the host's name", async () => {
    const agentBinary = fake(`onMessage = () => {
      send(0x1f, { code: "read-error", message: "sector 8 of /dev/sdb", device: "/dev/sdb", sector: 8 });
      process.exitCode = 1; process.stdin.destroy();
    }`);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection, { agentBinary });
    await expect(session.capture(REQUEST).next()).rejects.toMatchObject({
      code: "read-error",
      message: `${connection.name}: sector 8 of /dev/sdb`,
      details: { device: "/dev/sdb", sector: 8 },
    });
  });

  test("says how the agent died and its last words", async () => {
    const agentBinary = fake(`onMessage = () => {
      process.stderr.write("first\\nlast words\\n", () => process.kill(process.pid, "SIGKILL"));
    }`);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection, { agentBinary });
    await expect(session.facts()).rejects.toMatchObject({
      code: "agent-ended",
      message: expect.stringMatching(/by SIGKILL after .* received: last words$/),
    });
  });

  test("refuses an agent of another protocol", async () => {
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    const opened = AgentSession.open(connection, { agentBinary: fake("", { protocol: 1 }) });
    await expect(opened).rejects.toMatchObject({ code: "agent-version" });
    expect(isRunning(agentPid(pidFile))).toBe(false);
  });

  test("refuses clusters out of order", async () => {
    const agentBinary = fake(`onMessage = () => {
      const batch = Buffer.from(${BATCH}, "base64");
      send(0x10, { disk: 0, device: "/dev/null", sizeBytes: 65536, clusters: 1, usedClusters: 1 });
      send(0x11, batch); send(0x11, batch);
    }`);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection, { agentBinary });
    const capture = session.capture(REQUEST);
    expect((await capture.next()).value).toMatchObject({ type: "disk-begin" });
    expect((await capture.next()).value).toMatchObject({ type: "clusters", frameCount: 1 });
    await expect(capture.next()).rejects.toMatchObject({ code: "agent-protocol" });
  });

  test("a connection that is cut mid-way is said to be lost, with what came, and the agent ends", async () => {
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection, { agentBinary: fake(ENDLESS) });
    const pid = agentPid(pidFile);
    const failure = (async () => {
      let received = 0;
      for await (const message of session.capture(REQUEST)) {
        if (message.type !== "clusters") continue;
        if (received === 0) void sshd.cutConnections();
        received += message.frames.length;
      }
    })();
    await expect(failure).rejects.toMatchObject({
      code: "connection-lost",
      message: expect.stringMatching(/lost: .*, after [\d.]+ [KMG]iB received$/),
    });
    await ended(pid);
    await expect(connection.run(["true"])).rejects.toMatchObject({ code: "connection-lost" });
    await expect(session.facts()).rejects.toMatchObject({ code: "connection-lost" });
  });

  test("an abort stops the agent, even while nobody reads what it sends", async () => {
    const before = uploads();
    const controller = new AbortController();
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    const session = await AgentSession.open(connection, {
      agentBinary: fake(ENDLESS),
      signal: controller.signal,
    });
    const pid = agentPid(pidFile);
    const capture = session.capture(REQUEST);
    await capture.next();
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(capture.next()).rejects.toBe(reason);
    await session.close();
    await ended(pid);
    expect(uploads()).toEqual(before);
    expect((await connection.run(["echo", "alive"])).stdout).toBe("alive\n");
  });

  test("a reader that waits makes the agent wait", async () => {
    const counter = join(sshd.folder, "counter");
    const agentBinary = fake(
      `${ENDLESS}\nsetInterval(() => fs.writeFileSync(${JSON.stringify(counter)}, String(cluster)), 50);`,
    );
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection, { agentBinary });
    const capture = session.capture(REQUEST);
    await capture.next();
    await capture.next();
    const sent = await settled(() => (existsSync(counter) ? readFileSync(counter, "utf8") : ""));
    expect(Number(sent) * 60_000).toBeLessThan(64 * 2 ** 20);
    for (let count = 0; count < 3000; count += 1) await capture.next();
    expect(Number(await settled(() => readFileSync(counter, "utf8")))).toBeGreaterThan(Number(sent) + 1000);
  });

  test("an upload that comes back with other bytes is not run, and is removed", async () => {
    const before = uploads();
    const filter = join(sshd.folder, "damage");
    const program = `const server = require("node:child_process").spawn(${JSON.stringify(SFTP_SERVER)}, {
      stdio: ["inherit", "pipe", "inherit"] });
    server.stdout.on("data", (bytes) => {
      const at = bytes.indexOf("intact");
      if (at >= 0) bytes[at] ^= 1;
      process.stdout.write(bytes);
    });`;
    writeFileSync(filter, `#!${process.execPath}\n${program}`, { mode: 0o755 });
    await using damaging = await Sshd.start({ sftpServer: filter });
    await using connection = await openConnection(damaging.target, damaging.clientOptions);
    const agentBinary = fake("// intact");
    rmSync(pidFile, { force: true });
    await expect(AgentSession.open(connection, { agentBinary })).rejects.toMatchObject({
      code: "agent-checksum",
    });
    expect(existsSync(pidFile)).toBe(false);
    expect(uploads()).toEqual(before);
  });

  test("without SFTP on the source, it says which line is missing", async () => {
    await using bare = await Sshd.start({ sftpServer: "/bin/false" });
    await using connection = await openConnection(bare.target, bare.clientOptions);
    await expect(AgentSession.open(connection, { agentBinary: fake("") })).rejects.toMatchObject({
      code: "sftp-unavailable",
      hint: expect.stringContaining("Subsystem sftp"),
    });
  });

  test("a place mounted noexec is passed over", async ({ skip }) => {
    const folder = `/run/user/${process.getuid?.()}`;
    if (process.getuid?.() !== 0 || existsSync(folder))
      return skip("needs root and no /run/user/0 of its own");
    mkdirSync(folder, { recursive: true });
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "noexec", "tmpfs", folder]);
      const agentBinary = fake("onMessage = () => send(0x02, { argv: process.argv });");
      await using connection = await openConnection(sshd.target, sshd.clientOptions);
      await using session = await AgentSession.open(connection, { agentBinary });
      expect(JSON.stringify(await session.facts())).toContain('"/tmp/doppel-agent-');
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      execFileSync("sh", ["-c", `umount ${folder}; rmdir ${folder}`]);
    }
  });
});

describe.skipIf((!Sshd.available() || process.getuid?.() !== 0) && !process.env.CI)(
  "rights on the source",
  () => {
    test("without sudo it is refused, with the line that helps, and nothing is uploaded", async () => {
      const before = uploads();
      await using sshd = await Sshd.start({ asNobody: true });
      await using connection = await openConnection(sshd.target, sshd.clientOptions);
      expect((await connection.run(["id", "-u"])).stdout).toBe("65534\n");
      await expect(AgentSession.open(connection)).rejects.toMatchObject({
        code: "no-sudo",
        exitCode: 3,
        hint: expect.stringContaining("NOPASSWD"),
      });
      expect(uploads()).toEqual(before);
    });

    test("with sudo the agent is started by it, without a question", async () => {
      const bin = mkdtempSync(join(tmpdir(), "doppel-fake-sudo-"));
      chmodSync(bin, 0o777);
      const log = join(bin, "calls");
      const sudo = `#!/bin/sh\nprintf '%s\\n' "$*" >>${log}\n[ "$1" = -n ] && shift && exec "$@"\n`;
      writeFileSync(join(bin, "sudo"), sudo, { mode: 0o755 });
      await using sshd = await Sshd.start({ asNobody: true, config: [`SetEnv PATH=${bin}:/usr/bin:/bin`] });
      const agentBinary = writeFakeAgent(join(sshd.folder, "fake"), "onMessage = () => send(0x02, {});");
      await using connection = await openConnection(sshd.target, sshd.clientOptions);
      await using session = await AgentSession.open(connection, { agentBinary });
      expect(await session.facts()).toEqual({});
      expect(readFileSync(log, "utf8")).toMatch(
        /^-n true\n-n \/\S+\/doppel-agent-[0-9a-f]{16}\/doppel-agent serve --unlink --idle-timeout 30000\n$/,
      );
      rmSync(bin, { recursive: true });
    });

    test("a login shell that talks is refused", async () => {
      await using sshd = await Sshd.start({
        config: ['ForceCommand echo Welcome; eval "$SSH_ORIGINAL_COMMAND"'],
      });
      await using connection = await openConnection(sshd.target, sshd.clientOptions);
      await expect(AgentSession.open(connection)).rejects.toMatchObject({ code: "shell-noise", exitCode: 3 });
    });
  },
);

function uploads(): string[] {
  return ["/tmp", "/var/tmp"].flatMap((folder) =>
    readdirSync(folder).filter((name) => name.startsWith("doppel-agent-")),
  );
}

function agentPid(pidFile: string): number {
  return Number(readFileSync(pidFile, "utf8"));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function ended(pid: number): Promise<void> {
  await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false);
}

/** The value once it has stayed the same for a while. */
async function settled(read: () => string): Promise<string> {
  let last = "";
  await expect
    .poll(
      () => {
        const value = read();
        const same = value !== "" && value === last;
        last = value;
        return same;
      },
      { interval: 400, timeout: 20_000 },
    )
    .toBe(true);
  return last;
}

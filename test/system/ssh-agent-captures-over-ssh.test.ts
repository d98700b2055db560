import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decompress } from "zstd-napi";
import { DiskImage } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { AgentSession, type CaptureRequest } from "../../src/agent/session.ts";
import { openConnection } from "../../src/ssh/connect.ts";
import { must, packageRoot } from "./doppel.ts";

const AGENT = "native/build/x86_64/doppel-agent";
const CLUSTER = 65_536;
const REQUEST: Omit<CaptureRequest, "disks"> = {
  ...{ refreshMetadata: false, level: 3, threads: 0, pass: 0, freeze: null },
  ...{ limitRateBytesPerSecond: 0, limitCpuPercent: 0, onReadError: "stop", priority: "low" },
};

const missing = !Sshd.available() || !existsSync(AGENT) || process.getuid?.() !== 0;

describe.skipIf(missing && !process.env.CI)("the agent, over SSH,", () => {
  let sshd: Sshd;
  let disk: string;

  beforeAll(async () => {
    sshd = await Sshd.start();
    disk = join(sshd.folder, "disk");
    const content = Buffer.alloc(40 * CLUSTER + 1000);
    for (let at = 0; at < 30 * CLUSTER; at += 4) content.writeUInt32LE((at * 2654435761) % 2 ** 32, at);
    content.fill("text ", 35 * CLUSTER);
    writeFileSync(disk, content);
  });

  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
  });

  test("sends facts, a plan, and frames that are the disk's clusters, and leaves nothing behind", async () => {
    const before = uploads();
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    const session = await AgentSession.open(connection);
    expect(uploads()).toEqual(before);
    expect(session.hello).toMatchObject({ protocol: 2, arch: "x86_64", uid: 0 });
    expect(await session.facts()).toBeTypeOf("object");
    expect(await session.plan({ disks: [disk], refreshMetadata: false })).toMatchObject({
      disks: [{ device: disk }],
    });
    const { copy, types } = await captured(session, disk);
    expect([types[0], types.at(-2), types.at(-1)]).toEqual(["disk-begin", "disk-end", "capture-end"]);
    const content = readFileSync(disk);
    expect(copy.subarray(0, content.length).equals(content)).toBe(true);
    await session.close();
    expect(running(session.hello.pid)).toBe(false);
    expect(uploads()).toEqual(before);
  });

  test("under AddressSanitizer and UBSan does all of it without a finding", async () => {
    await must("make", "-s", "-C", join(packageRoot, "native"), "sanitize");
    const agentBinary = join(packageRoot, "native/build/sanitize/doppel-agent");
    using image = new DiskImage(64 * 1024 * 1024);
    await must("sgdisk", "--new=1:2048:+20M", "--new=2:0:0", image.path);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection, { agentBinary });
    await session.facts();
    await session.plan({ disks: [disk, image.path], refreshMetadata: true });
    const { copy } = await captured(session, disk);
    const content = readFileSync(disk);
    expect(copy.subarray(0, content.length).equals(content)).toBe(true);
    const types: string[] = [];
    for await (const { type } of session.capture({ ...REQUEST, disks: [image.path], limitCpuPercent: 50 }))
      types.push(type);
    expect(types.at(-1)).toBe("capture-end");
  });

  test("reports a disk that does not exist", async () => {
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection);
    await expect(session.plan({ disks: ["/dev/none"], refreshMetadata: false })).rejects.toMatchObject({
      code: "disk-unknown",
      message: expect.stringContaining("/dev/none"),
    });
  });

  test("ends when the connection is cut, and has left no file", async () => {
    const before = uploads();
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    await using session = await AgentSession.open(connection);
    const facts = session.capture({ ...REQUEST, disks: [disk], limitRateBytesPerSecond: 100_000 });
    await facts.next();
    await sshd.cutConnections();
    const rest = (async () => {
      for await (const _ of facts);
    })();
    await expect(rest).rejects.toMatchObject({ code: "connection-lost" });
    await expect.poll(() => running(session.hello.pid), { timeout: 10_000 }).toBe(false);
    expect(uploads()).toEqual(before);
  });
});

/** Captures a disk of at most 41 clusters, checking each frame's hash. */
async function captured(session: AgentSession, disk: string): Promise<{ copy: Buffer; types: string[] }> {
  const copy = Buffer.alloc(41 * CLUSTER);
  const types: string[] = [];
  for await (const message of session.capture({ ...REQUEST, disks: [disk] })) {
    types.push(message.type);
    if (message.type !== "clusters") continue;
    const clusters = message.runs.flatMap(({ firstCluster, count }) =>
      Array.from({ length: count }, (_, index) => firstCluster + index),
    );
    let at = 0;
    for (const [index, cluster] of clusters.entries()) {
      const end = at + message.table.readUInt32LE(index * 20);
      const raw = decompress(message.frames.subarray(at, end));
      const hash = createHash("sha256").update(raw).digest().subarray(0, 16);
      expect(hash.equals(message.table.subarray(index * 20 + 4, index * 20 + 20))).toBe(true);
      raw.copy(copy, cluster * CLUSTER);
      at = end;
    }
  }
  return { copy, types };
}

function uploads(): string[] {
  return ["/tmp", "/var/tmp", "/run/user/0"].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith("doppel-agent-")) : [],
  );
}

function running(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Sshd } from "../../fixtures/sshd.ts";
import { openConnection } from "../../src/ssh/connect.ts";

const MIB = 2 ** 20;

describe.skipIf(!Sshd.available() && !process.env.CI)("a channel", () => {
  let sshd: Sshd;

  beforeAll(async () => {
    sshd = await Sshd.start();
  });

  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
  });

  test("is filled with about 16 MiB before anyone reads, and not with more", async () => {
    const counter = join(sshd.folder, "counter");
    // Writes and counts pieces of 256 KiB until the channel takes no more.
    const script = `dd if=/dev/zero of="$1.piece" bs=256k count=1 2>/dev/null; i=0
      while cat "$1.piece"; do i=$((i + 1)); echo $i >"$1.new"; mv "$1.new" "$1"; done`;
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    const remote = await connection.exec(["sh", "-c", script, "sh", counter], { sendsMuch: true });
    let last = -1;
    await expect
      .poll(
        () => {
          const value = existsSync(counter) ? Number(readFileSync(counter, "utf8")) : 0;
          const settled = value > 0 && value === last;
          last = value;
          return settled;
        },
        { interval: 500, timeout: 20_000 },
      )
      .toBe(true);
    remote.kill();
    expect(last / 4).toBeGreaterThan(12);
    expect(last / 4).toBeLessThan(24);
  });

  test("loses nothing between a reader that starts and stops and a window of any fill", async () => {
    const file = join(sshd.folder, "content");
    const content = Buffer.alloc(60 * MIB);
    for (let at = 0; at < content.length; at += 4) content.writeUInt32LE((at * 2654435761) % 2 ** 32, at);
    writeFileSync(file, content);
    await using connection = await openConnection(sshd.target, sshd.clientOptions);
    for (const blockBytes of [32 * 1024, 1000, 77_777]) {
      const remote = await connection.exec(["dd", `if=${file}`, `bs=${blockBytes}`, "status=none"], {
        sendsMuch: true,
      });
      const hash = createHash("sha256");
      let untilPause = 0;
      for await (const chunk of remote.stdout as AsyncIterable<Buffer>) {
        hash.update(chunk);
        untilPause -= chunk.length;
        // Pauses of a few turns of the event loop, at places that differ: the window drains to any depth.
        for (let turn = 0; untilPause < 0 && turn < 400; turn += 1) await new Promise(setImmediate);
        if (untilPause < 0) untilPause = 5 * MIB + chunk.length;
      }
      expect(await remote.exited).toEqual({ code: 0, signal: undefined });
      expect(hash.digest("hex")).toBe(createHash("sha256").update(content).digest("hex"));
    }
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readAgentBinary } from "../../../src/agent/binary.ts";

test("an agent that has not been built is asked for with the command that builds it", async () => {
  await expect(readAgentBinary("s390x")).rejects.toMatchObject({
    code: "agent-missing",
    exitCode: 3,
    hint: "make -C native ARCH=s390x",
  });
});

test("a source cannot name a file of ours with its architecture", async () => {
  await expect(readAgentBinary("../../..")).rejects.toMatchObject({ code: "agent-missing" });
});

test("another file may be named", async () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-binary-"));
  writeFileSync(join(folder, "agent"), "content");
  expect((await readAgentBinary("x86_64", join(folder, "agent"))).toString()).toBe("content");
  rmSync(folder, { recursive: true });
});

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");
const home = mkdtempSync(join(tmpdir(), "doppel-boot-"));
const env = { ...process.env, DOPPEL_HOME: home };
/** Another name than a demo of the user's own. */
const name = "doppel-boot-test";

/** Libvirt and loop devices need root; CI has it, so there a missing right is a failure. */
const possible = process.getuid?.() === 0 || process.env.CI !== undefined;

describe.skipIf(!possible)("a captured server becomes a virtual machine", () => {
  afterAll(async () => {
    await run(join(root, "bin/doppel"), ["discard", name], { env }).catch(() => {});
    rmSync(home, { recursive: true, force: true });
  });

  it("captures the demo machine while it runs; the guest answers on its own port with nothing lost", async () => {
    const program = join(root, "dist/fixtures/demo/quickstart.js");
    const { stdout } = await run(process.execPath, [program, root, "--json", "--name", name], {
      env,
      maxBuffer: 1e8,
    });
    const summary = JSON.parse(stdout);
    expect(summary).toMatchObject({ grade: "frozen", diskBytes: 8 * 1024 ** 3, ledger: { sound: true } });
    expect(summary.ledger.newest).toBeGreaterThan(0);
    expect(summary.sentBytes).toBeLessThan(summary.usedBytes);
    expect(summary.usedBytes).toBeLessThan(2 * 1024 ** 3);
  });

  it("left an image that verifies and a machine that is listed", async () => {
    const verified = await run(join(root, "bin/doppel"), ["images", "verify", name, "--json"], { env });
    expect(JSON.parse(verified.stdout)).toMatchObject({ findingCount: 0 });
    const listed = await run(join(root, "bin/doppel"), ["vms", "--json"], { env });
    expect(JSON.parse(listed.stdout)).toMatchObject([{ name, state: "running" }]);
  });

  it("refuses to remove the image while the machine needs it", async () => {
    await expect(run(join(root, "bin/doppel"), ["images", "rm", name], { env })).rejects.toMatchObject({
      code: 3,
    });
  });
});

import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { PROTOCOL_VERSION } from "../../src/agent/wire.ts";
import { Doppel, must, packageRoot, runCommand } from "./doppel.ts";

interface Diagnosis {
  name: string;
  outcome: string;
  what: string;
  mend?: string;
}

// Where no systemd starts libvirt, nothing else did before these tests.
beforeAll(async () => {
  await startLibvirt();
});

describe("doctor", () => {
  it("finds what works here by doing it", async () => {
    using doppel = new Doppel();
    const { possible, probes } = (await doppel.json("doctor")) as { possible: boolean; probes: Diagnosis[] };
    expect(possible).toBe(true);
    for (const name of ["ssh", "agent", "native modules", "store", "qemu"])
      expect(probes).toContainEqual(expect.objectContaining({ name, outcome: "ok" }));
    expect(probes.find(({ name }) => name === "agent")?.what).toMatch(
      new RegExp(`^doppel-agent [\\d.]+, protocol ${PROTOCOL_VERSION}$`),
    );
    for (const { outcome, mend } of probes) if (outcome !== "ok") expect(mend).toBeTruthy();
  });

  it("names the command that mends what is missing, and fails (exit 1)", async () => {
    // A PATH with Node.js and nothing else.
    const folder = mkdtempSync(join(tmpdir(), "doppel-path-"));
    using doppel = new Doppel();
    try {
      for (const program of ["node", "env", "bash", "dirname", "readlink"])
        symlinkSync((await must("which", program)).trim(), join(folder, program));
      const { code, stdout } = await runCommand(join(packageRoot, "bin/doppel"), ["doctor"], {
        PATH: folder,
        DOPPEL_HOME: doppel.home,
      });
      expect(code).toBe(1);
      expect(stdout).toMatch(
        /missing +qemu +QEMU or qemu-img is not installed\n.*apt-get install qemu-system-x86 qemu-utils/,
      );
      expect(stdout).toMatch(/missing +libvirt .*\n.*apt-get install libvirt-daemon-system/);
      expect(stdout).toContain("something is missing that the main jobs need");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

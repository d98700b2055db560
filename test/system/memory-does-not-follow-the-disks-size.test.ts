import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { Doppel, loginTo, must, packageRoot, possible, runCommand } from "./doppel.ts";

const MIB = 1024 * 1024;
const TIB = MIB * MIB;

/** Runs doppel and returns the most memory that it had resident, in bytes (getrusage counts KiB). */
async function residentPeak(
  doppel: Doppel,
  ...args: string[]
): Promise<{ stdout: string; peakBytes: number }> {
  const script = [
    "import resource, subprocess, sys",
    "code = subprocess.run(sys.argv[1:]).returncode",
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)",
    "sys.exit(code)",
  ].join("\n");
  const command = [join(packageRoot, "bin/doppel"), ...args];
  const { code, stdout, stderr } = await runCommand("python3", ["-c", script, ...command], {
    DOPPEL_HOME: doppel.home,
  });
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return { stdout, peakBytes: Number(stderr.trim().split("\n").at(-1)) * 1024 };
}

describe.skipIf(!possible)("a disk of 16 TiB", () => {
  it("is captured, and compared with an earlier image, by an agent of 64 MiB and a command of 300 MiB, and exported by one of 300 MiB", async () => {
    // A sparse file of 16 TiB needs a file system that holds one: XFS, itself in a sparse file.
    using host = new DiskImage(8 * 1024 * MIB);
    await must("mkfs.xfs", "-q", host.path);
    const folder = host.mount(host.attach());
    const huge = join(folder, "huge.img");
    execFileSync("truncate", ["-s", String(16 * TIB), huge]);
    const lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    await must("mkfs.ext4", "-q", "-F", "-m0", "-i", "4194304", "-E", lazy, huge);
    const loop = (await must("losetup", "--find", "--show", huge)).trim();
    const sshd = await Sshd.start();
    using doppel = new Doppel();
    try {
      const args = ["capture", ...loginTo(sshd), "--disk", loop, "--json"];
      const capture = await residentPeak(doppel, ...args, "--name", "huge");
      const result = JSON.parse(capture.stdout);
      expect(result.disks[0].sizeBytes).toBe(16 * TIB);
      expect(result.residentPeakBytes).toBeLessThan(64 * MIB);
      expect(capture.peakBytes).toBeLessThan(300 * MIB);
      const again = await residentPeak(doppel, ...args, "--name", "again", "--parent", "huge");
      const second = JSON.parse(again.stdout);
      expect(second).toMatchObject({ framesSent: 0, sameBytes: result.disks[0].dataBytes });
      expect(second.residentPeakBytes).toBeLessThan(64 * MIB);
      expect(again.peakBytes).toBeLessThan(300 * MIB);
      const file = join(folder, "huge.qcow2");
      const exported = await residentPeak(doppel, "export", "huge", "-o", file, "--json");
      expect(exported.peakBytes).toBeLessThan(300 * MIB);
      await must("qemu-img", "check", "-q", file);
    } finally {
      await must("losetup", "--detach", loop);
      await sshd[Symbol.asyncDispose]();
    }
  });
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { runProgram } from "../run-program.ts";

export interface KvmProbe {
  works: boolean;
  /** Why not, in one sentence. */
  reason?: string;
}

/** Five bytes of real mode code: write 0x10 to port 0xf4, then halt; isa-debug-exit ends QEMU with 0x10 * 2 + 1. */
const TINY_GUEST = Buffer.from([0xb0, 0x10, 0xe6, 0xf4, 0xf4]);
const EXPECTED_EXIT = 0x21;
const PROBE_MS = 15_000;

let probed: Promise<KvmProbe> | undefined;

/**
 * Whether KVM works here: by starting a guest with the processor that domains get, since /dev/kvm may be there and still
 * not start one. Asked once.
 */
export function probeKvm(): Promise<KvmProbe> {
  probed ??= startTinyGuest();
  return probed;
}

async function startTinyGuest(): Promise<KvmProbe> {
  const folder = await mkdtemp(join(tmpdir(), "doppel-kvm-"));
  try {
    const sector = Buffer.alloc(1024 * 1024);
    TINY_GUEST.copy(sector);
    sector.writeUInt16LE(0xaa55, 510);
    const image = join(folder, "guest.img");
    await writeFile(image, sector);
    const result = await runProgram(
      "qemu-system-x86_64",
      [
        ...["-accel", "kvm", "-machine", "q35", "-cpu", "host", "-smp", "2", "-m", "64"],
        ...["-nodefaults", "-display", "none", "-no-reboot"],
        ...["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"],
        ...["-drive", `file=${image},format=raw,if=ide`],
      ],
      { allowFailure: true, timeoutMs: PROBE_MS },
    );
    if (result.exitCode === EXPECTED_EXIT) return { works: true };
    const why = result.stderr.trim().split("\n").at(-1);
    return { works: false, reason: why || `the guest ended with ${result.exitCode}` };
  } catch (error) {
    return { works: false, reason: messageOf(error) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

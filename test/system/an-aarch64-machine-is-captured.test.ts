import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage, fillAndFragment } from "../../fixtures/disks.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { PROTOCOL_VERSION } from "../../src/agent/wire.ts";
import { Doppel, expectNothingLeft, loginTo, must, packageRoot, possible } from "./doppel.ts";

const MIB = 1024 * 1024;

/** What sshd runs instead of each command: `uname -m` is that of an aarch64 machine, and qemu-user runs its programs. */
const AS_AARCH64 = `#!/bin/sh
PATH="$(dirname "$0"):$PATH"
case "$SSH_ORIGINAL_COMMAND" in
  */doppel-agent*serve*) eval "exec qemu-aarch64 $SSH_ORIGINAL_COMMAND" ;;
  *) exec sh -c "$SSH_ORIGINAL_COMMAND" ;;
esac
`;

describe.skipIf(!possible)("an aarch64 machine", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-aarch64-"));
  let sshd: Sshd;

  beforeAll(async () => {
    await must("make", "-s", "-C", join(packageRoot, "native"), "ARCH=aarch64");
    for (const [name, text] of [
      ["run", AS_AARCH64],
      ["uname", "#!/bin/sh\necho aarch64\n"],
    ] as const) {
      writeFileSync(join(folder, name), text);
      chmodSync(join(folder, name), 0o755);
    }
    sshd = await Sshd.start({ config: [`ForceCommand ${join(folder, "run")}`] });
  });

  afterAll(async () => {
    await sshd[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("is captured by the agent of its own architecture, which leaves nothing there", async () => {
    const version = await must(
      "qemu-aarch64",
      join(packageRoot, "native/build/aarch64/doppel-agent"),
      "--version",
    );
    expect(version).toMatch(new RegExp(`^doppel-agent .*, protocol ${PROTOCOL_VERSION}\n$`));
    using image = new DiskImage(160 * MIB);
    await must("mkfs.ext4", "-q", "-F", image.path);
    const writable = image.attach();
    const mounted = image.mount(writable);
    fillAndFragment(mounted, 64, 60);
    image.unmount(mounted);
    image.detach(writable);
    using doppel = new Doppel();
    const disk = image.attach({ readOnly: true });
    await doppel.json("capture", ...loginTo(sshd), "--disk", disk, "--name", "arm");
    const file = join(image.folder, "arm.qcow2");
    await doppel.json("export", "arm", "-o", file);
    const raw = join(image.folder, "arm.raw");
    await must("qemu-img", "convert", "-O", "raw", file, raw);
    await must("e2fsck", "-fn", raw);
    await doppel.json("images", "rm", "arm");
    await expectNothingLeft(doppel);
    // The native agent maps and reads the same.
    await using native = await Sshd.start();
    await doppel.json("capture", ...loginTo(native), "--disk", disk, "--name", "native");
    await doppel.json("export", "native", "-o", join(image.folder, "native.qcow2"));
    await must("qemu-img", "compare", "-q", file, join(image.folder, "native.qcow2"));
  });
});

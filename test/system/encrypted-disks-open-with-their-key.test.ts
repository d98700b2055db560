import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasEncryptedDevices, openEncryptedDevices } from "../../src/guest/encrypted-devices.ts";
import { findSystems, mountSystem } from "../../src/guest/guest-system.ts";
import { Guestfish } from "../../src/guest/guestfish.ts";
import type { MachineFacts } from "../../src/machine/facts.ts";
import { must, possible } from "./doppel.ts";

const KEY = "a long passphrase, with blanks";

/** LVM in LUKS in a partition, with a root whose distribution nobody knows. */
describe.skipIf(!possible)("an encrypted disk of a guest", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-luks-"));
  const socketPath = join(folder, "nbd");
  let rootUuid = "";

  const start = (keys: string[]) =>
    Guestfish.start([{ socketPath, exportName: "", writable: true }], { useTcg: true, keys });
  const facts = () =>
    ({
      block: [
        { path: "/dev/sda1", fsType: "luks", mounts: [] },
        { path: "/dev/vg/root", fsType: "ext4", fsUuid: rootUuid, mounts: [{ path: "/" }] },
      ],
      os: { id: "nobodyknows", prettyName: "Nobody Knows 1.0", hostname: "safe" },
      hardware: { arch: "x86_64" },
    }) as unknown as MachineFacts;

  beforeAll(async () => {
    const disk = join(folder, "disk.raw");
    writeFileSync(disk, "");
    truncateSync(disk, 128 * 1024 * 1024);
    const pidFile = join(folder, "pid");
    await must(
      "bash",
      "-c",
      'exec qemu-nbd --fork --persistent --format=raw --shared=4 "$@" 2>/dev/null',
      "nbd",
      `--socket=${socketPath}`,
      `--pid-file=${pidFile}`,
      disk,
    );
    await using guestfish = await start([KEY]);
    await guestfish.run("part-disk", "/dev/sda", "gpt");
    expect(await guestfish.tryWithKey(KEY, "luks-format", "/dev/sda1", "0")).toBe("");
    expect(await guestfish.openEncrypted("/dev/sda1", "inner")).toBe(true);
    await guestfish.run("pvcreate", "/dev/mapper/inner");
    await guestfish.run("vgcreate", "vg", "/dev/mapper/inner");
    await guestfish.run("lvcreate", "root", "vg", "64");
    await guestfish.run("mkfs", "ext4", "/dev/vg/root");
    rootUuid = await guestfish.run("vfs-uuid", "/dev/vg/root");
    await guestfish.run("mount", "/dev/vg/root", "/");
    await guestfish.write("/hello", "from inside\n");
    await guestfish.close();
  });

  afterAll(async () => {
    await must("pkill", "-F", join(folder, "pid"));
    rmSync(folder, { recursive: true, force: true });
  });

  it("is known by the facts to need a key", () => {
    expect(hasEncryptedDevices(facts())).toBe(true);
    expect(hasEncryptedDevices({ block: [] } as unknown as MachineFacts)).toBe(false);
  });

  it("opens with the one of several keys that fits; what lies in it is found by what the machine had mounted", async () => {
    await using guestfish = await start(["not this one", KEY, "nor this"]);
    await openEncryptedDevices(guestfish);
    const [system] = await findSystems(guestfish, facts());
    expect(system).toMatchObject({ root: "/dev/vg/root", type: "linux", productName: "Nobody Knows 1.0" });
    if (system) await mountSystem(guestfish, system);
    expect((await guestfish.read("/hello"))?.toString()).toBe("from inside\n");
  });

  it("stays shut without the right key (exit 3), which the error does not show", async () => {
    await using guestfish = await start(["wrong-secret"]);
    const error = await openEncryptedDevices(guestfish).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "key-wrong", exitCode: 3 });
    expect(String(error)).toContain("/dev/sda1");
    expect(JSON.stringify(error)).not.toContain("wrong-secret");
  });

  it("refuses keys that cannot be given: with a line break or a zero byte (exit 2)", async () => {
    await expect(start(["two\nlines"])).rejects.toMatchObject({ code: "key-unusable", exitCode: 2 });
    await expect(start(["zero\0byte"])).rejects.toMatchObject({ code: "key-unusable", exitCode: 2 });
  });
});

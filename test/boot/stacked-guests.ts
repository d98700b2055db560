import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitForLedger } from "../../fixtures/demo/machine.ts";
import { type Guest, Lab } from "../../fixtures/lab.ts";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { Doppel, possible } from "../system/doppel.ts";
import { bootReport } from "./boot-report.ts";
import { ThawedVm } from "./thawed-vm.ts";

const STACKS = ["layered", "md", "luks", "btrfs", "lvm", "plain"] as const;

/** Every guest that has this generator. */
export function guestsWith(generator: Guest["generator"]): Guest[] {
  return (["bios", "uefi"] as const).flatMap((firmware) =>
    STACKS.map((stack) => ({ generator, firmware, stack })),
  );
}

/**
 * Guests whose initramfs knows AHCI only, and whose configuration names disks and cards by their place: they do not boot as they are,
 * and do once they are converted. `mac` is of a card that no machine that runs beside them has.
 */
export function describeGuests(guests: Guest[], mac: string): void {
  describe.skipIf(!possible).each(guests)("a guest with $generator, $firmware, $stack", (guest) =>
    describeGuest(guest, mac),
  );
}

function describeGuest(guest: Guest, mac: string): void {
  const doppel = new Doppel();
  const vmName = `doppel-stack-${guest.generator}`;
  const isMirror = guest.stack === "md" || guest.stack === "layered";
  const isEncrypted = guest.stack === "luks" || guest.stack === "layered";
  let lab: Lab;

  beforeAll(async () => {
    await startLibvirt();
    lab = await Lab.start({ guest, mac, cpus: 1 });
    if (guest.firmware === "uefi") {
      // Its entry, as an installer makes it.
      await lab.run(
        "efibootmgr -q -c -d /dev/sda -p 1 -L debian -l '\\EFI\\debian\\grubx64.efi' && rm -r /boot/efi/EFI/BOOT",
      );
    }
    // A mirror that has just been made is still being copied.
    if (isMirror) await lab.run("mdadm --wait /dev/md127 || true");
    const words = [...lab.login, "--name", "physical", "--freeze", "--level", "1"];
    const captured = await doppel.json("capture", ...words);
    expect(captured).toMatchObject({ grade: "frozen", warnings: [] });
    await lab.machine.stop();
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  it("does not boot as it is", async () => {
    const words = ["boot-test", "physical", "--memory", "1G", "--firmware", guest.firmware, "--json"];
    const { code, stdout } = await doppel.run(...words);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ boots: false, firmware: guest.firmware });
  });

  it("boots on either bus once it is converted", async () => {
    const key = isEncrypted ? ["--luks-key", join(lab.built, "luks.key")] : [];
    await doppel.json("convert", "physical", "--to", "kvm", "--name", "virtual", ...key);
    for (const bus of ["virtio-scsi", "virtio-blk"]) {
      const report = await bootReport(doppel, "virtual", bus);
      expect(report).toMatchObject({ boots: true, bus, firmware: guest.firmware });
    }
  });

  it("keeps its card's name, and boots again after it has made its own initramfs", async () => {
    await using vm = await ThawedVm.start(doppel, "virtual", vmName, lab);
    expect((await waitForLedger(`http://${vm.address}:8080/`, 300_000)).sound).toBe(true);
    expect(await vm.run("ip -o link show ens4")).toContain(mac);
    const rebuild =
      guest.generator === "dracut" ? "dracut -q --force --regenerate-all" : "update-initramfs -u -k all";
    await vm.run(`${rebuild} && sync`);
    await vm.restart();
  });
}

import { DoppelError, EXIT } from "../errors.ts";
import type { MachineFacts } from "../machine/facts.ts";
import type { Guestfish } from "./guestfish.ts";

const LUKS = "crypto_LUKS";
/** Volumes may lie in encrypted devices, and these in volumes. */
const MOST_LAYERS = 4;

/** Whether the machine had encrypted devices, which need a key. */
export function hasEncryptedDevices({ block }: MachineFacts): boolean {
  return block.some(({ fsType }) => fsType === "luks");
}

/** Opens what is encrypted, and the volume groups in it. Throws `key-wrong` (exit 3) when no key fits. */
export async function openEncryptedDevices(guestfish: Guestfish): Promise<void> {
  const done = new Set<string>();
  for (let layer = 0; layer < MOST_LAYERS; layer++) {
    const found = (await encryptedDevices(guestfish)).filter((device) => !done.has(device));
    if (found.length === 0) return;
    for (const device of found) {
      done.add(device);
      if (await guestfish.openEncrypted(device, `doppel-${done.size}`)) continue;
      throw new DoppelError("key-wrong", `no key opens the encrypted device ${device} of the guest`, {
        hint: "give its key: --luks-key FILE",
        exitCode: EXIT.refused,
      });
    }
    await guestfish.run("lvm-scan", "true");
  }
}

async function encryptedDevices(guestfish: Guestfish): Promise<string[]> {
  const devices: string[] = [];
  for (const command of ["list-devices", "list-partitions", "list-md-devices", "lvs"])
    for (const device of await guestfish.lines(command))
      if ((await guestfish.tryRun("vfs-type", device)) === LUKS) devices.push(device);
  return devices;
}

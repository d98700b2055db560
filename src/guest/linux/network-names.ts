import type { MachineFacts } from "../../machine/facts.ts";
import { isCardName, isMac } from "../../machine/network-card.ts";
import { changeFile } from "../changes.ts";
import type { GuestContext, Step } from "../step.ts";
import { type CpioMember, FILE_MODE } from "./cpio.ts";
import type { Initramfs } from "./initramfs.ts";

/** A file for each captured card, which gives it its name by its address (systemd.link(5)). */
export function linkFiles(facts: MachineFacts): { path: string; content: string }[] {
  return physicalCards(facts).map(({ name, mac }) => ({
    path: `/etc/systemd/network/70-doppel-${name}.link`,
    content: `[Match]\nMACAddress=${mac}\n\n[Link]\nName=${name}\n`,
  }));
}

const UDEV = /(?:^|\/)(?:(?:systemd-)?udevd|udevadm)$/;

/**
 * Link files that an initramfs must have: udev in it may name a card before the root is there, and an older systemd
 * (before 240) never names a card twice.
 */
export function missingLinkFiles(initramfs: Initramfs, facts: MachineFacts): CpioMember[] {
  if (initramfs.paths(UDEV).length === 0) return [];
  return linkFiles(facts)
    .filter(({ path, content }) => initramfs.file(path)?.toString("utf8") !== content)
    .map(({ path, content }) => ({ path: path.slice(1), mode: FILE_MODE, content: Buffer.from(content) }));
}

/** Every captured card keeps its name on other hardware, where it lies on another bus and has another driver. */
export async function planNetworkNames({ guestfish, facts }: GuestContext): Promise<Step[]> {
  const cards = physicalCards(facts);
  if (cards.length === 0) return [];
  const systemd = (await guestfish.tryRun("is-dir", "/usr/lib/systemd", "followsymlinks:true")) === "true";
  const files = systemd ? linkFiles(facts) : [rules(facts)];
  return [
    {
      name: "network-names",
      what: `${cards.map(({ name, mac }) => `${mac} stays ${name}`).join(", ")} (${files.map(({ path }) => path).join(", ")})`,
      why: "the names come from the bus and the driver of the old hardware; addresses are configured by name",
      apply: async () => {
        const changed = [];
        for (const { path, content } of files) changed.push(await changeFile(guestfish, path, content));
        return changed;
      },
    },
  ];
}

/** Before systemd: a rule for udev. */
function rules(facts: MachineFacts): { path: string; content: string } {
  const lines = physicalCards(facts).map(
    ({ name, mac }) =>
      `SUBSYSTEM=="net", ACTION=="add", ATTR{address}=="${mac.toLowerCase()}", ATTR{type}=="1", NAME="${name}"`,
  );
  return { path: "/etc/udev/rules.d/70-persistent-net.rules", content: `${lines.join("\n")}\n` };
}

function physicalCards(facts: MachineFacts): { name: string; mac: string }[] {
  return facts.nics.flatMap(({ kind, name, mac, permanentMac }) => {
    const address = permanentMac ?? mac;
    return kind === "physical" && address && isMac(address) && isCardName(name)
      ? [{ name, mac: address }]
      : [];
  });
}

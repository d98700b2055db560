import { isIP, isIPv4 } from "node:net";
import type { MachineFacts } from "../../machine/facts.ts";
import type { InterfaceSettings } from "../network-settings.ts";
import type { CardAddresses } from "./firstboot-scripts.ts";
import type { RegTree, RegValue } from "./reg-file.ts";

const INTERFACES = "services\\tcpip\\parameters\\interfaces\\";
const MAC = /^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i;
/** The serial number that many cards have in their instance path: the address with FFFF in its middle, and 00 of the first port. */
const SERIAL = /\\([0-9a-f]{6})ffff([0-9a-f]{6})00$/i;

/** A card of the registry with addresses that are set by hand. */
export interface StaticCard {
  /** Its GUID, in lower case. */
  id: string;
  ipv4: readonly { address: string; mask: string }[];
  gateways: readonly string[];
  dns: readonly string[];
}

/** Cards with addresses set by hand, from a control set's `Services\Tcpip\Parameters\Interfaces`. What is no address is left out. */
export function staticCards(tree: RegTree): StaticCard[] {
  const cards: StaticCard[] = [];
  for (const [path, values] of tree) {
    const at = path.indexOf(INTERFACES);
    const id = at < 0 ? "" : path.slice(at + INTERFACES.length);
    const dhcp = values.get("enabledhcp");
    if (!/^\{[0-9a-f-]{36}\}$/.test(id) || (dhcp?.type === "dword" && dhcp.number !== 0)) continue;
    const masks = texts(values.get("subnetmask"));
    const ipv4 = texts(values.get("ipaddress"))
      .map((address, index) => ({ address, mask: masks[index] ?? "" }))
      .filter(({ address, mask }) => isIPv4(address) && isIPv4(mask) && address !== "0.0.0.0");
    if (ipv4.length === 0) continue;
    cards.push({
      id,
      ipv4,
      gateways: texts(values.get("defaultgateway")).filter((text) => isIPv4(text) && text !== "0.0.0.0"),
      dns: texts(values.get("nameserver")).filter((text) => isIP(text) !== 0),
    });
  }
  return cards;
}

/**
 * Hardware addresses of cards by their GUIDs, from the class of network adapters: the one that was set by hand, or the one
 * in the card's serial number.
 */
export function cardAddresses(adapters: RegTree): Map<string, string> {
  const macs = new Map<string, string>();
  for (const values of adapters.values()) {
    const [id] = texts(values.get("netcfginstanceid"));
    if (id === undefined) continue;
    const [set = ""] = texts(values.get("networkaddress"));
    const [instance = ""] = texts(values.get("deviceinstanceid"));
    const serial = SERIAL.exec(instance);
    const digits = /^[0-9a-f]{12}$/i.test(set) ? set : serial ? `${serial[1]}${serial[2]}` : undefined;
    if (digits !== undefined) macs.set(id.toLowerCase(), withColons(digits));
  }
  return macs;
}

/**
 * Which card is which on the new hardware: by the addresses that the running machine had, by the registry, or because there
 * is one only. Those that nothing tells are in `unknown`.
 */
export function placeCards(
  cards: readonly StaticCard[],
  macs: ReadonlyMap<string, string>,
  { nics }: Pick<MachineFacts, "nics">,
): { placed: CardAddresses[]; unknown: StaticCard[] } {
  const physical = nics.filter(({ kind }) => kind === "physical");
  const placed: CardAddresses[] = [];
  const unknown: StaticCard[] = [];
  for (const card of cards) {
    const seen = physical.find(({ addresses }) =>
      addresses.some(({ address }) => card.ipv4.some((each) => each.address === address)),
    );
    const only = cards.length === 1 && physical.length <= 1 ? physical[0] : undefined;
    const mac = seen?.mac ?? macs.get(card.id) ?? only?.mac ?? undefined;
    if (mac === undefined && (cards.length > 1 || physical.length > 1)) unknown.push(card);
    else
      placed.push({
        mac: mac === undefined || !MAC.test(mac) ? undefined : normal(mac),
        dhcp: false,
        ...card,
        ipv6: [],
        ipv6Gateways: [],
      });
  }
  return { placed, unknown };
}

/** What `--network` asks for, for a card of that hardware address. */
export function wishedAddresses(settings: InterfaceSettings, mac: string): CardAddresses {
  const v4 = settings.addresses.filter((text) => !text.includes(":"));
  const gateways = settings.gateway === undefined ? [] : [settings.gateway];
  return {
    mac: normal(mac),
    dhcp: settings.dhcp,
    ipv4: v4.map((text) => {
      const [address = "", prefix] = text.split("/");
      return { address, mask: maskOf(Number(prefix)) };
    }),
    gateways: gateways.filter((text) => isIPv4(text)),
    dns: settings.dns,
    ipv6: settings.addresses.filter((text) => text.includes(":")),
    ipv6Gateways: gateways.filter((text) => !isIPv4(text)),
  };
}

/** The hardware address of the card that a user named by it or by the name that it had; undefined of one that nobody saw. */
export function macOf(card: string, { nics }: Pick<MachineFacts, "nics">): string | undefined {
  if (MAC.test(card)) return normal(card);
  const found = nics.find(({ name }) => name === card)?.mac;
  return found && MAC.test(found) ? normal(found) : undefined;
}

function maskOf(prefix: number): string {
  const mask = prefix === 0 ? 0 : 2 ** 32 - 2 ** (32 - prefix);
  return [24, 16, 8, 0].map((shift) => Math.floor(mask / 2 ** shift) % 256).join(".");
}

function normal(mac: string): string {
  return mac.replaceAll("-", ":").toUpperCase();
}

function withColons(digits: string): string {
  return (digits.match(/../g) ?? []).join(":").toUpperCase();
}

/** The strings of a value; of one string, what blanks and commas part. */
function texts(value: RegValue | undefined): string[] {
  if (value?.type === "multi-sz") return value.texts.filter((text) => text !== "");
  if (value?.type === "sz" || value?.type === "expand-sz")
    return value.text.split(/[\s,]+/).filter((text) => text !== "");
  return [];
}

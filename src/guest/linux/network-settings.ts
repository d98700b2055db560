import { randomUUID } from "node:crypto";
import { isIPv4 } from "node:net";
import { DoppelError, EXIT } from "../../errors.ts";
import type { MachineFacts } from "../../machine/facts.ts";
import { changeFile, putAside } from "../changes.ts";
import type { InterfaceSettings } from "../network-settings.ts";
import type { GuestContext, Step } from "../step.ts";

type Guestfish = GuestContext["guestfish"];

/** A captured card by the name it keeps, and what it is to have. */
interface Card extends InterfaceSettings {
  name: string;
}

interface FileChange {
  path: string;
  /** Undefined: the file is put aside. */
  content: string | undefined;
  mode?: number;
}

/** One way of configuring a network. */
interface Manager {
  name: string;
  isUsed(guestfish: Guestfish): Promise<boolean>;
  changes(guestfish: Guestfish, cards: readonly Card[]): Promise<FileChange[]>;
}

/** `--network FILE`: other addresses, in the files of whatever configures the guest's network. */
export async function planNetworkSettings({ guestfish, facts, wishes }: GuestContext): Promise<Step[]> {
  if (wishes.network.length === 0) return [];
  const cards = wishes.network.map((settings) => ({ ...settings, name: nameOf(settings.card, facts) }));
  for (const manager of MANAGERS) {
    if (!(await manager.isUsed(guestfish))) continue;
    const changes = await manager.changes(guestfish, cards);
    return [
      {
        name: "network-settings",
        what: `${cards.map(describe).join("; ")} (${manager.name}: ${changes.map(({ path }) => path).join(", ")})`,
        why: "other addresses were asked for",
        apply: async () => {
          const changed = [];
          for (const { path, content, mode } of changes) {
            const change =
              content === undefined
                ? await putAside(guestfish, path)
                : await changeFile(guestfish, path, content, mode);
            changed.push(change);
          }
          return changed;
        },
      },
    ];
  }
  throw new DoppelError("conversion-refused", "what configures the guest's network is not known", {
    hint: "leave --network out and set the addresses by a --firstboot script",
    exitCode: EXIT.refused,
  });
}

function nameOf(card: string, { nics }: MachineFacts): string {
  const found = nics.find(
    ({ name, mac, permanentMac }) =>
      name === card || [mac, permanentMac].some((each) => each?.toLowerCase() === card.toLowerCase()),
  );
  if (found) return found.name;
  const all = nics.filter(({ kind }) => kind === "physical").map(({ name, mac }) => `${name} (${mac})`);
  throw new DoppelError("conversion-refused", `the machine has no network card ${card}`, {
    hint: `it has ${all.join(", ") || "none"}`,
    exitCode: EXIT.refused,
  });
}

function describe({ name, dhcp, addresses }: Card): string {
  return `${name}: ${[...(dhcp ? ["DHCP"] : []), ...addresses].join(", ")}`;
}

/** In the order in which they are asked: netplan writes the files of others. */
const MANAGERS: readonly Manager[] = [
  {
    name: "netplan",
    isUsed: async (guestfish) => (await guestfish.expand(["/etc/netplan/*.yaml"])).length > 0,
    // Netplan merges its files and joins lists: addresses go away only with the file that has them.
    changes: async (guestfish, cards) => {
      const others = (await guestfish.expand(["/etc/netplan/*.yaml"])).filter((path) => path !== NETPLAN);
      return [
        ...others.map((path) => ({ path, content: undefined })),
        { path: NETPLAN, content: netplan(cards), mode: 0o600 },
      ];
    },
  },
  {
    name: "NetworkManager",
    isUsed: async (guestfish) =>
      (await guestfish.expand(["/etc/NetworkManager/system-connections/*"])).length > 0 ||
      ((await guestfish.expand(["/usr/sbin/NetworkManager"])).length > 0 &&
        (await guestfish.expand(["/etc/sysconfig/network-scripts/ifcfg-*", "/etc/network/interfaces"]))
          .length === 0),
    changes: async (_guestfish, cards) =>
      cards.map((card) => ({
        path: `/etc/NetworkManager/system-connections/doppel-${card.name}.nmconnection`,
        content: keyfile(card),
        mode: 0o600,
      })),
  },
  {
    name: "ifcfg",
    isUsed: async (guestfish) => (await guestfish.expand(["/etc/sysconfig/network-scripts"])).length > 0,
    changes: async (_guestfish, cards) =>
      cards.map((card) => ({
        path: `/etc/sysconfig/network-scripts/ifcfg-${card.name}`,
        content: ifcfg(card),
      })),
  },
  {
    name: "wicked",
    isUsed: async (guestfish) => (await guestfish.expand(["/etc/sysconfig/network/ifcfg-lo"])).length > 0,
    changes: async (_guestfish, cards) =>
      cards.flatMap((card) => [
        { path: `/etc/sysconfig/network/ifcfg-${card.name}`, content: wicked(card) },
        ...(card.gateway
          ? [
              {
                path: `/etc/sysconfig/network/ifroute-${card.name}`,
                content: `default ${card.gateway} - ${card.name}\n`,
              },
            ]
          : []),
      ]),
  },
  {
    name: "systemd-networkd",
    isUsed: async (guestfish) => (await guestfish.expand(["/etc/systemd/network/*.network"])).length > 0,
    // Of the files that match a card, the first by name counts (systemd.network(5)).
    changes: async (_guestfish, cards) =>
      cards.map((card) => ({
        path: `/etc/systemd/network/00-doppel-${card.name}.network`,
        content: networkd(card),
      })),
  },
  {
    name: "ifupdown",
    isUsed: async (guestfish) => (await guestfish.expand(["/etc/network/interfaces"])).length > 0,
    changes: async (guestfish, cards) => {
      const names = new Set(cards.map(({ name }) => name));
      const changes: FileChange[] = [];
      for (const path of await guestfish.expand(["/etc/network/interfaces", "/etc/network/interfaces.d/*"])) {
        const before = (await guestfish.read(path))?.toString("utf8") ?? "";
        const after = withoutStanzas(before, names);
        const own = path === "/etc/network/interfaces" ? `${after.trimEnd()}\n\n${ifupdown(cards)}` : after;
        if (own !== before) changes.push({ path, content: own });
      }
      return changes;
    },
  },
];

const NETPLAN = "/etc/netplan/90-doppel.yaml";

function netplan(cards: readonly Card[]): string {
  const lines = ["network:", "  version: 2", "  ethernets:"];
  for (const { name, dhcp, addresses, gateway, dns } of cards) {
    lines.push(`    ${name}:`, `      dhcp4: ${dhcp}`);
    if (addresses.length > 0)
      lines.push(`      addresses: [${addresses.map((each) => `"${each}"`).join(", ")}]`);
    if (gateway)
      lines.push(
        "      routes:",
        `        - {to: "${isIPv4(gateway) ? "0.0.0.0/0" : "::/0"}", via: "${gateway}"}`,
      );
    if (dns.length > 0)
      lines.push(`      nameservers: {addresses: [${dns.map((each) => `"${each}"`).join(", ")}]}`);
  }
  return `${lines.join("\n")}\n`;
}

/** nm-settings-keyfile(5). */
function keyfile({ name, dhcp, addresses, gateway, dns }: Card): string {
  const section = (family: "ipv4" | "ipv6") => {
    const own = (text: string) => isIPv4(text.split("/")[0] ?? "") === (family === "ipv4");
    const fixed = addresses.filter(own);
    const route = gateway && own(gateway) ? `,${gateway}` : "";
    const lines = fixed.map((each, index) => `address${index + 1}=${each}${index === 0 ? route : ""}`);
    const servers = dns.filter(own);
    if (servers.length > 0) lines.push(`dns=${servers.join(";")};`);
    const automatic = dhcp || family === "ipv6" ? "auto" : "disabled";
    return [
      `[${family}]`,
      `method=${dhcp ? "auto" : fixed.length > 0 ? "manual" : automatic}`,
      ...lines,
    ].join("\n");
  };
  return `[connection]
id=doppel-${name}
uuid=${randomUUID()}
type=ethernet
interface-name=${name}
autoconnect-priority=999

${section("ipv4")}

${section("ipv6")}
`;
}

/** The network scripts of RHEL-likes (sysconfig.txt of initscripts). */
function ifcfg({ name, dhcp, addresses, gateway, dns }: Card): string {
  const v4 = addresses.filter((each) => isIPv4(each.split("/")[0] ?? ""));
  const v6 = addresses.filter((each) => !v4.includes(each));
  const lines = [`DEVICE=${name}`, "ONBOOT=yes", `BOOTPROTO=${dhcp ? "dhcp" : "none"}`];
  for (const [index, each] of v4.entries()) {
    const [ip, prefix] = each.split("/");
    lines.push(`IPADDR${index || ""}=${ip}`, `PREFIX${index || ""}=${prefix}`);
  }
  if (v6.length > 0) lines.push("IPV6INIT=yes", `IPV6ADDR=${v6[0]}`);
  if (v6.length > 1) lines.push(`IPV6ADDR_SECONDARIES="${v6.slice(1).join(" ")}"`);
  if (gateway) lines.push(`${isIPv4(gateway) ? "GATEWAY" : "IPV6_DEFAULTGW"}=${gateway}`);
  for (const [index, each] of dns.entries()) lines.push(`DNS${index + 1}=${each}`);
  return `${lines.join("\n")}\n`;
}

/** ifcfg(5) of wicked. */
function wicked({ dhcp, addresses }: Card): string {
  const lines = ["STARTMODE='auto'", `BOOTPROTO='${dhcp ? "dhcp" : "static"}'`];
  for (const [index, each] of addresses.entries()) lines.push(`IPADDR${index ? `_${index}` : ""}='${each}'`);
  return `${lines.join("\n")}\n`;
}

/** systemd.network(5). */
function networkd({ name, dhcp, addresses, gateway, dns }: Card): string {
  const lines = ["[Match]", `Name=${name}`, "", "[Network]", `DHCP=${dhcp ? "yes" : "no"}`];
  for (const each of addresses) lines.push(`Address=${each}`);
  if (gateway) lines.push(`Gateway=${gateway}`);
  for (const each of dns) lines.push(`DNS=${each}`);
  return `${lines.join("\n")}\n`;
}

/** interfaces(5). */
function ifupdown(cards: readonly Card[]): string {
  const stanzas = cards.map(({ name, dhcp, addresses, gateway, dns }) => {
    const lines = [`auto ${name}`];
    if (dhcp) lines.push(`iface ${name} inet dhcp`);
    for (const [index, each] of addresses.entries()) {
      const family = isIPv4(each.split("/")[0] ?? "") ? "inet" : "inet6";
      lines.push(`iface ${name} ${family} static`, `    address ${each}`);
      if (index > 0) continue;
      if (gateway) lines.push(`    gateway ${gateway}`);
      if (dns.length > 0) lines.push(`    dns-nameservers ${dns.join(" ")}`);
    }
    return `${lines.join("\n")}\n`;
  });
  return stanzas.join("\n");
}

/** A file of ifupdown without what it says of some interfaces. */
export function withoutStanzas(text: string, names: ReadonlySet<string>): string {
  const kept: string[] = [];
  let dropping = false;
  for (const line of text.split("\n")) {
    const [word = "", ...rest] = line.trim().split(/\s+/);
    if (/^(iface|mapping|auto|allow-\S+|source|source-directory)$/.test(word)) {
      dropping = word === "iface" && names.has(rest[0] ?? "");
      if (word === "auto" || word.startsWith("allow-")) {
        const others = rest.filter((name) => !names.has(name));
        if (others.length > 0)
          kept.push(others.length === rest.length ? line : `${word} ${others.join(" ")}`);
        continue;
      }
    }
    // A comment before the next stanza belongs to that one.
    if (!dropping || line.trim() === "" || line.startsWith("#")) kept.push(line);
  }
  return kept.join("\n");
}

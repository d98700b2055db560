import { describe, expect, it } from "vitest";
import { networkScript } from "../../../../src/guest/windows/firstboot-scripts.ts";
import type { RegValue } from "../../../../src/guest/windows/reg-file.ts";
import {
  cardAddresses,
  macOf,
  placeCards,
  staticCards,
  wishedAddresses,
} from "../../../../src/guest/windows/static-addresses.ts";
import type { MachineFacts } from "../../../../src/machine/facts.ts";

const FIRST = "{11111111-1111-1111-1111-111111111111}";
const SECOND = "{22222222-2222-2222-2222-222222222222}";
const sz = (text: string): RegValue => ({ type: "sz", text });
const list = (...texts: string[]): RegValue => ({ type: "multi-sz", texts });
const nic = (name: string, mac: string, ...addresses: string[]) =>
  ({
    name,
    kind: "physical",
    mac,
    addresses: addresses.map((address) => ({ address, prefix: 24 })),
  }) as MachineFacts["nics"][number];

const card = (id: string, address: string): [string, Map<string, RegValue>] => [
  `controlset001\\services\\tcpip\\parameters\\interfaces\\${id}`,
  new Map<string, RegValue>([
    ["enabledhcp", { type: "dword", number: 0 }],
    ["ipaddress", list(address)],
    ["subnetmask", list("255.255.0.0")],
    ["defaultgateway", list("10.0.0.1")],
    ["nameserver", sz("10.0.0.53, 10.0.0.54")],
  ]),
];

describe("addresses of a Windows that were set by hand", () => {
  it("are read from its interfaces; cards with DHCP and what is no address are left out", () => {
    const dhcp = card(SECOND, "10.9.9.9");
    dhcp[1].set("enabledhcp", { type: "dword", number: 1 });
    const hostile = card(SECOND.replace("2", "3"), "10.0.0.1'; Remove-Item C:\\");
    expect(staticCards(new Map([card(FIRST, "10.0.0.5"), dhcp, hostile]))).toEqual([
      {
        id: FIRST,
        ipv4: [{ address: "10.0.0.5", mask: "255.255.0.0" }],
        gateways: ["10.0.0.1"],
        dns: ["10.0.0.53", "10.0.0.54"],
      },
    ]);
  });

  it("belong to cards by the running machine, by the registry, or because there is one", () => {
    const cards = staticCards(new Map([card(FIRST, "10.0.0.5"), card(SECOND, "10.1.0.5")]));
    const macs = cardAddresses(
      new Map([
        [
          "class\\0001",
          new Map([
            ["netcfginstanceid", sz(SECOND.toUpperCase())],
            ["deviceinstanceid", sz("PCI\\VEN_8086&DEV_10D3\\A0369FFFFF2B3C4D00")],
          ]),
        ],
      ]),
    );
    const nics = [nic("eth0", "0c:c4:7a:00:00:01", "10.0.0.5"), nic("eth1", "0c:c4:7a:00:00:02")];
    const both = placeCards(cards, macs, { nics });
    expect(both.placed.map(({ mac }) => mac)).toEqual(["0C:C4:7A:00:00:01", "A0:36:9F:2B:3C:4D"]);
    expect(both.unknown).toEqual([]);
    expect(placeCards(cards, new Map(), { nics }).unknown.map(({ id }) => id)).toEqual([SECOND]);
    const [one] = placeCards(cards.slice(0, 1), new Map(), { nics: [] }).placed;
    expect(one?.mac).toBeUndefined();
    const [only] = placeCards(cards.slice(1), new Map(), { nics: nics.slice(1) }).placed;
    expect(only?.mac).toBe("0C:C4:7A:00:00:02");
  });

  it("are those of --network instead, for cards by their name or hardware address", () => {
    const nics = [nic("eno1", "0c:c4:7a:00:00:01")];
    expect(macOf("eno1", { nics })).toBe("0C:C4:7A:00:00:01");
    expect(macOf("52-54-00-aa-bb-cc", { nics })).toBe("52:54:00:AA:BB:CC");
    expect(macOf("eno2", { nics })).toBeUndefined();
    const settings = {
      card: "eno1",
      dhcp: false,
      addresses: ["192.0.2.5/25", "2001:db8::5/64"],
      gateway: "192.0.2.1",
      dns: [],
    };
    const script = networkScript([wishedAddresses(settings, "0c:c4:7a:00:00:01")]);
    expect(script).toContain(
      "Addresses = @('192.0.2.5'); Masks = @('255.255.255.128'); Gateways = @('192.0.2.1')",
    );
    expect(script).toContain("Addresses6 = @('2001:db8::5/64'); Gateways6 = @()");
  });
});

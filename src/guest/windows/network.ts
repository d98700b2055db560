import { type CardAddresses, networkScript } from "./firstboot-scripts.ts";
import { refused } from "./refusals.ts";
import { cardAddresses, macOf, placeCards, staticCards, wishedAddresses } from "./static-addresses.ts";
import { controlSet } from "./storage-drivers.ts";
import type { WindowsContext, WindowsStep } from "./windows-step.ts";

const ADAPTERS = "Control\\Class\\{4D36E972-E325-11CE-BFC1-08002BE10318}";

/** Another card is a new one to Windows and asks by DHCP: addresses that were set by hand are set again, by hardware address. */
export async function planNetwork(context: WindowsContext): Promise<WindowsStep | undefined> {
  return context.wishes.network.length > 0 ? asked(context) : await captured(context);
}

function asked({ wishes, facts }: WindowsContext): WindowsStep {
  const cards = wishes.network.map((settings) => {
    const mac = macOf(settings.card, facts);
    if (mac !== undefined) return wishedAddresses(settings, mac);
    throw refused(`the machine has no network card ${settings.card}`, "name it by its hardware address");
  });
  return step(cards, "--network asks for it");
}

async function captured({ windows, facts }: WindowsContext): Promise<WindowsStep | undefined> {
  const { systemHive, system } = windows;
  const set = controlSet(system.current);
  const cards = staticCards(await systemHive.tree(`${set}\\Services\\Tcpip\\Parameters\\Interfaces`));
  if (cards.length === 0) return undefined;
  const macs = cardAddresses(await systemHive.tree(`${set}\\${ADAPTERS}`));
  const { placed, unknown } = placeCards(cards, macs, facts);
  if (unknown.length > 0) {
    const addresses = unknown.flatMap(({ ipv4 }) => ipv4.map(({ address }) => address)).join(", ");
    throw refused(
      `which card of the guest has ${addresses} is not known`,
      "say it in a --network file: each card by its hardware address, with its addresses",
    );
  }
  return step(placed, "new cards ask by DHCP; the registry has these set by hand");
}

function step(cards: readonly CardAddresses[], why: string): WindowsStep {
  const what = cards.map(({ mac, dhcp, ipv4, ipv6 }) => {
    const addresses = [...(dhcp ? ["DHCP"] : []), ...ipv4.map(({ address }) => address), ...ipv6];
    return `${mac ?? "the card"}: ${addresses.join(", ")}`;
  });
  return {
    name: "network",
    what: `${what.join("; ")} on the first boot`,
    why,
    scripts: [{ name: "network.ps1", content: networkScript(cards) }],
  };
}

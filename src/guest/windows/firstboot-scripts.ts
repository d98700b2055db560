import type { RegEdit } from "./reg-file.ts";

/** A script for the first boot, `.cmd` or `.ps1`. */
export interface FirstbootScript {
  name: string;
  content: Buffer | string;
}

/** Text of a command script: lines end as Windows ends them. */
function commands(lines: readonly string[]): string {
  return ["@echo off", ...lines, ""].join("\r\n");
}

/**
 * Installs drivers by their .inf files with pnputil. The entries that made Windows boot go before pnputil meets the same
 * drivers: it would fail on them, and so would an upgrade.
 */
export function driverScript(drivers: {
  /** Of the files, as Windows has it. */
  folder: string;
  others: readonly string[];
  storage: readonly string[];
  temporary: readonly RegEdit[];
}): string {
  const install = (inf: string) => [
    `pnputil -i -a "${drivers.folder}\\${inf}"`,
    "if !errorlevel! equ 3010 set restart=3010",
  ];
  return commands([
    "setlocal EnableDelayedExpansion",
    "set restart=0",
    ...drivers.others.flatMap(install),
    ...drivers.temporary.flatMap(registryCommands),
    ...drivers.storage.flatMap(install),
    "exit /b %restart%",
  ]);
}

function registryCommands({ key, remove = [], removeKey }: RegEdit): string[] {
  const path = `HKLM\\SYSTEM\\${key}`;
  if (removeKey) return [`reg delete "${path}" /f`];
  return remove.map((name) => `reg delete "${path}" /v "${name}" /f`);
}

/** What was put there without Windows has no access list of Windows: the folder above says who may write. */
export function accessScript(folders: readonly string[]): string {
  return commands(folders.map((folder) => `icacls "${folder}" /reset /T /C /Q`));
}

/** Brings disks online that Windows has not seen before. */
export const DISKS_SCRIPT = [
  '$file = Join-Path $env:TEMP "doppel-disks.txt"',
  "Get-WmiObject Win32_DiskDrive | ForEach-Object {",
  '  "select disk $($_.Index)"',
  '  "attributes disk clear readonly noerr"',
  '  "online disk noerr"',
  "} | Out-File -Encoding ASCII $file",
  "diskpart /s $file",
  "Remove-Item $file",
  "",
].join("\r\n");

/** Installs qemu-ga from the package beside the scripts. */
export function agentScript(msi: string): string {
  return commands([`msiexec /i "%SystemRoot%\\${msi}" /qn /norestart`, "exit /b %errorlevel%"]);
}

/** What one card gets; all of it was checked to be addresses. */
export interface CardAddresses {
  /** Upper case, colons; undefined when the machine has one card and its address is not known. */
  mac: string | undefined;
  dhcp: boolean;
  /** IPv4, each with its mask. */
  ipv4: readonly { address: string; mask: string }[];
  gateways: readonly string[];
  dns: readonly string[];
  /** `ADDRESS/PREFIX`. */
  ipv6: readonly string[];
  ipv6Gateways: readonly string[];
}

const list = (texts: readonly string[]) => `@(${texts.map((text) => `'${text}'`).join(", ")})`;

/** Gives each card its addresses, by PowerShell 2 and newer. A card is waited for: its driver may just have been installed. */
export function networkScript(cards: readonly CardAddresses[]): string {
  const entries = cards.map(
    ({ mac, dhcp, ipv4, gateways, dns, ipv6, ipv6Gateways }) =>
      `  @{ Mac = '${mac ?? ""}'; Dhcp = $${dhcp}; Addresses = ${list(ipv4.map(({ address }) => address))}; ` +
      `Masks = ${list(ipv4.map(({ mask }) => mask))}; Gateways = ${list(gateways)}; Dns = ${list(dns)}; ` +
      `Addresses6 = ${list(ipv6)}; Gateways6 = ${list(ipv6Gateways)} }`,
  );
  return [
    "$cards = @(",
    entries.join(",\r\n"),
    ")",
    "foreach ($card in $cards) {",
    "  $filter = 'IPEnabled = TRUE'",
    `  if ($card.Mac) { $filter += " AND MACAddress = '$($card.Mac)'" }`,
    "  $adapter = $null",
    "  for ($try = 0; $try -lt 60 -and -not $adapter; $try++) {",
    "    if ($try) { Start-Sleep -Seconds 2 }",
    "    $adapter = @(Get-WmiObject Win32_NetworkAdapterConfiguration -Filter $filter)[0]",
    "  }",
    '  if (-not $adapter) { "no card $($card.Mac)"; continue }',
    '  "card $($adapter.MACAddress): $($adapter.Description)"',
    "  if ($card.Dhcp) { $adapter.EnableDHCP() | Out-Null }",
    "  if ($card.Addresses.Count) {",
    '    "addresses: " + $adapter.EnableStatic($card.Addresses, $card.Masks).ReturnValue',
    "  }",
    "  if ($card.Gateways.Count) {",
    '    "gateways: " + $adapter.SetGateways($card.Gateways).ReturnValue',
    "  }",
    "  $index = $adapter.InterfaceIndex",
    "  foreach ($address in $card.Addresses6) { netsh interface ipv6 add address interface=$index address=$address }",
    "  foreach ($gateway in $card.Gateways6) { netsh interface ipv6 add route prefix=::/0 interface=$index nexthop=$gateway }",
    "  $dns4 = @($card.Dns | Where-Object { $_ -notmatch ':' })",
    '  if ($dns4.Count) { "name servers: " + $adapter.SetDNSServerSearchOrder($dns4).ReturnValue }',
    "  foreach ($server in @($card.Dns | Where-Object { $_ -match ':' })) { netsh interface ipv6 add dnsserver $index $server }",
    "}",
    "",
  ].join("\r\n");
}

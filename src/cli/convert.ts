import { readFile, stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { Command, Option } from "commander";
import { DoppelError, EXIT, wrapError } from "../errors.ts";
import { type ConvertResult, convertImage } from "../guest/convert.ts";
import { hasEncryptedDevices } from "../guest/encrypted-devices.ts";
import { parseNetworkFile } from "../guest/network-settings.ts";
import type { VirtioWin, Wishes } from "../guest/step.ts";
import { findTarget, TARGET_NAMES } from "../guest/target.ts";
import { formatReference, parseLocalReference, parseReference } from "../image/reference.ts";
import { parseFacts } from "../machine/facts.ts";
import { terminalPrompt } from "../ssh/terminal-prompt.ts";
import { ImageStore, type StoredImage } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { resolveTrusted, type TrustFlags, withUseOptions } from "./trust-options.ts";

interface ConvertFlags {
  to: string;
  name: string;
  root?: string;
  luksKey: string[];
  network?: string;
  virtioWin?: string;
  console?: boolean;
  firstboot: string[];
  guestAgent?: boolean;
  sysprep?: boolean;
  hostname?: string;
  residue: boolean;
  rebuildInitramfs?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

const HOSTNAME = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/;

/** `doppel convert REF --to TARGET --name REF`: a child image that boots on other hardware. */
export function convertCommand(): Command {
  return withUseOptions(new Command("convert"))
    .description("make a child of an image that boots on other hardware; the image itself stays as it is")
    .argument("<ref>", "the image")
    .addOption(
      new Option("--to <target>", "the hardware it is to boot on")
        .choices(TARGET_NAMES)
        .makeOptionMandatory(),
    )
    .requiredOption("--name <ref>", "the name of the child image")
    .option("--root <device>", "which system, when the disks hold several")
    .option(
      "--luks-key <file>",
      "a file with the key of an encrypted disk, may be given again; else it is asked for",
      collect,
      [],
    )
    .option("--network <file>", "other addresses (docs/conversion.md); by default every card keeps its own")
    .option(
      "--virtio-win <path>",
      "the drivers of Windows guests: the virtio-win ISO, or a folder with what is in it",
    )
    .option("--console", "a serial console, too")
    .option("--firstboot <script>", "run once on the first boot, may be given again", collect, [])
    .option("--guest-agent", "install the agent of the target on the first boot")
    .option("--sysprep", "take away what tells a machine from its copies: keys, ids, leases, logs")
    .option("--hostname <name>", "its new host name")
    .option("--no-residue", "leave on what only the old hardware needs")
    .option("--rebuild-initramfs", "run the guest's own generator in the appliance, too")
    .option("--dry-run", "say what would be changed and why, and stop")
    .option("--json", "print the result as JSON")
    .action(run);
}

async function run(ref: string, flags: ConvertFlags & TrustFlags): Promise<void> {
  const child = parseLocalReference(flags.name);
  const wishes = await readWishes(flags);
  await using store = await ImageStore.open();
  await using _name = store.reserveName(child);
  const image = await resolveTrusted(store, parseReference(ref), flags);
  const result = await convertImage(store, image, child, {
    target: findTarget(flags.to),
    wishes,
    keys: await readKeys(flags.luksKey, image),
    ...(flags.root === undefined ? {} : { root: flags.root }),
    dryRun: flags.dryRun === true,
    signal: interruptSignal(),
    onStage: (what) => process.stderr.write(`convert: ${what}\n`),
  });
  const name = formatReference(child);
  if (flags.json) printJson(resultJson(result, name, flags.dryRun === true));
  else process.stdout.write(resultText(result, name));
}

async function readWishes(flags: ConvertFlags): Promise<Wishes> {
  if (flags.hostname !== undefined && !HOSTNAME.test(flags.hostname))
    throw new DoppelError("usage", `'${flags.hostname}' is not a host name`, { exitCode: EXIT.usage });
  const firstboot: Wishes["firstboot"] = [];
  for (const path of flags.firstboot)
    firstboot.push({ name: basename(path), content: await readInput(path) });
  const network = flags.network;
  return {
    console: flags.console === true,
    firstboot,
    sysprep: flags.sysprep === true,
    ...(flags.hostname === undefined ? {} : { hostname: flags.hostname }),
    guestAgent: flags.guestAgent === true,
    keepResidue: !flags.residue,
    rebuildInitramfs: flags.rebuildInitramfs === true,
    ...(flags.virtioWin === undefined ? {} : { virtioWin: await findVirtioWin(flags.virtioWin) }),
    network:
      network === undefined ? [] : parseNetworkFile((await readInput(network)).toString("utf8"), network),
  };
}

async function findVirtioWin(path: string): Promise<VirtioWin> {
  try {
    const found = await stat(path);
    // The appliance's disks are given by whole paths.
    return { path: resolve(path), kind: found.isDirectory() ? "folder" : "iso" };
  } catch (error) {
    throw wrapError(error, "usage", `${path} cannot be read`, "name the virtio-win ISO or a folder");
  }
}

/** From files; of a machine with encrypted disks and no file, from the terminal. */
async function readKeys(paths: readonly string[], image: StoredImage): Promise<string[]> {
  const keys: string[] = [];
  for (const path of paths) keys.push((await readInput(path)).toString("utf8").replace(/\n$/, ""));
  const { doppel } = image.config;
  if (keys.length > 0 || !hasEncryptedDevices(parseFacts(doppel.facts, "the image"))) return keys;
  const answer = await terminalPrompt(
    { text: `Passphrase of the encrypted disks of ${doppel.host}: `, hidden: true },
    interruptSignal(),
  );
  return answer ? [answer] : [];
}

async function readInput(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw wrapError(error, "usage", `${path} cannot be read`, "name a file that can be read");
  }
}

function resultJson(
  { child, ...plan }: ConvertResult,
  name: string,
  dryRun: boolean,
): Record<string, unknown> {
  const sealed = child && { name, digest: child.image.digest, changedBytes: child.changedBytes };
  return { dryRun, ...plan, ...(sealed ?? {}) };
}

function resultText({ system, steps, skippedMounts, child }: ConvertResult, name: string): string {
  const lines = [`${system.productName} on ${system.root}`];
  for (const { what, why } of steps) lines.push(`  ${what}`, `      ${why}`);
  for (const path of skippedMounts) lines.push(`  not mounted: ${path}`);
  if (child) lines.push(`${name}: ${child.image.digest}, ${formatBytes(child.changedBytes)} differ`);
  return `${lines.join("\n")}\n`;
}

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

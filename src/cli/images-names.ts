import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { formatReference, parseLocalReference, parseReference } from "../image/reference.ts";
import { CHANNEL_CHECKS, type Channel, type ChannelCheck } from "../store/channels.ts";
import { ImageStore } from "../store/image-store.ts";
import { changeLabels, labelsIn, parseLabelChange } from "../store/labels.ts";
import { formatPublicKey, parsePublicKey, readPublicKey } from "../trust/keys.ts";
import { declareChannel, type Promotion, promote, undoPromotion } from "../trust/promote.ts";
import { printJson, table } from "./output.ts";

interface JsonOption {
  json?: boolean;
}

interface ChannelFlags extends JsonOption {
  require?: string;
  key: string[];
  remove?: boolean;
}

interface PromoteFlags extends JsonOption {
  undo?: boolean;
  dryRun?: boolean;
}

/** `doppel images label`, `channel`, `promote`. */
export function nameCommands(): Command[] {
  return [
    new Command("label")
      .description("set labels of an image, or show them; they travel with it")
      .argument("<ref>", "the image")
      .argument("[change...]", "key=value, or key- to take one away")
      .option("--json", "print the result as JSON")
      .action(label),
    new Command("channel")
      .description("declare a name that moves by promotion only, or show what became of it")
      .argument("[name]", "the channel, such as base:stable; without one, all are listed")
      .option("--require <checks>", `what an image must have: ${CHANNEL_CHECKS.join(",")}, or none`)
      .option(
        "--key <file>",
        "for 'signed': a public key that may sign; can be given again",
        (file: string, all: string[]) => [...all, file],
        [],
      )
      .option("--remove", "make it a common name again; what it names stays, its history goes")
      .option("--json", "print the result as JSON")
      .action(channel),
    new Command("promote")
      .description("move a channel to an image that meets all that the channel demands")
      .argument("<ref>", "the image; with --undo the channel")
      .argument("[channel]", "the channel")
      .option("--undo", "move the channel back to the image that it named before")
      .option("--dry-run", "say how the image stands to the channel's checks, and stop")
      .option("--json", "print the result as JSON")
      .action(runPromote),
  ];
}

async function label(ref: string, texts: string[], flags: JsonOption): Promise<void> {
  const changes = texts.map(parseLabelChange);
  await using store = await ImageStore.open();
  const image = await store.resolve(parseReference(ref));
  const labels =
    changes.length > 0
      ? await changeLabels(store, image, changes)
      : labelsIn(store.catalog.attachments(image.digest));
  if (flags.json) return printJson({ digest: image.digest, labels });
  process.stdout.write(
    Object.entries(labels)
      .map(([key, value]) => `${key}=${value}\n`)
      .join("") || "no labels\n",
  );
}

async function channel(name: string | undefined, flags: ChannelFlags): Promise<void> {
  await using store = await ImageStore.open();
  if (name === undefined) {
    if (flags.require !== undefined || flags.remove || flags.key.length > 0)
      throw usage("say which channel", "doppel images channel NAME --require verified");
    return printChannels(store, flags);
  }
  const reference = parseLocalReference(name);
  if (flags.remove) {
    store.catalog.channels.require(reference);
    store.change(() => store.catalog.channels.remove(reference));
    const removed = formatReference(reference);
    if (flags.json) return printJson({ removed });
    process.stdout.write(`${removed} is a common name again\n`);
    return;
  }
  if (flags.require !== undefined)
    declareChannel(store, reference, await readDeclaration(flags.require, flags.key));
  else if (flags.key.length > 0) throw usage("--key goes with --require", "--require signed --key FILE");
  const found = describe(store, store.catalog.channels.require(reference));
  if (flags.json) return printJson(found);
  const rows = found.history.map(({ action, digest, at, by, source }) => [
    at,
    action,
    digest ?? "-",
    by,
    source,
  ]);
  process.stdout.write(
    `${found.channel}: ${found.digest ?? "no image yet"}\nrequires ${found.requires.join(", ") || "nothing"}\n` +
      table([["WHEN", "WHAT", "IMAGE", "BY", "FROM"], ...rows]),
  );
}

function printChannels(store: ImageStore, { json }: JsonOption): void {
  const all = store.catalog.channels.list().map((one) => describe(store, one));
  if (json) {
    printJson(all);
    return;
  }
  const rows = all.map((one) => [one.channel, one.requires.join(", ") || "nothing", one.digest ?? "-"]);
  process.stdout.write(table([["CHANNEL", "REQUIRES", "IMAGE"], ...rows]));
}

function describe(store: ImageStore, { name, tag, requires, keys, declared }: Channel) {
  return {
    channel: `${name}:${tag}`,
    digest: store.catalog.digestOf(name, tag) ?? null,
    requires,
    keys: keys.map((pem) => parsePublicKey(pem, "a key of the channel").id),
    declared,
    history: store.catalog.channels.steps({ name, tag }),
  };
}

async function readDeclaration(
  text: string,
  files: readonly string[],
): Promise<{ requires: ChannelCheck[]; keys: string[] }> {
  const words = text === "none" ? [] : text.split(",").map((word) => word.trim());
  const unknown = words.find((word) => !(CHANNEL_CHECKS as readonly string[]).includes(word));
  if (unknown !== undefined)
    throw usage(`'${unknown}' is no check`, `there is ${CHANNEL_CHECKS.join(", ")}, or none`);
  const requires = CHANNEL_CHECKS.filter((check) => words.includes(check));
  if (requires.includes("signed") !== files.length > 0)
    throw usage("'signed' and --key go together", "--require signed --key release.pub");
  const keys: string[] = [];
  for (const file of files) keys.push(formatPublicKey((await readPublicKey(file)).key));
  return { requires, keys };
}

async function runPromote(first: string, second: string | undefined, flags: PromoteFlags): Promise<void> {
  if ((flags.undo === true) === (second !== undefined))
    throw usage(
      "name an image and a channel, or with --undo the channel",
      "doppel images promote REF CHANNEL",
    );
  await using store = await ImageStore.open();
  if (flags.undo) {
    if (flags.dryRun)
      throw usage("--undo has no --dry-run", `doppel images channel ${first} shows its history`);
    return printPromotion(await undoPromotion(store, parseLocalReference(first)), flags);
  }
  const source = parseReference(first);
  const options = { source, channel: parseLocalReference(second ?? ""), dryRun: flags.dryRun === true };
  printPromotion(await promote(store, await store.resolve(source), options), flags);
}

function printPromotion(promotion: Promotion, { json, dryRun }: PromoteFlags): void {
  if (json) {
    printJson({ dryRun: dryRun === true, ...promotion });
    return;
  }
  const { channel, digest, before, checks } = promotion;
  for (const { check, met, what, command } of checks)
    process.stdout.write(`${met ? "met    " : "missing"}  ${check}: ${what}${met ? "" : ` - ${command}`}\n`);
  if (dryRun) return;
  const was = before === null || before === digest ? "" : `, no longer ${before}`;
  process.stdout.write(`${channel} is ${digest}${was}\n`);
}

function usage(message: string, hint: string): DoppelError {
  return new DoppelError("usage", message, { hint, exitCode: EXIT.usage });
}

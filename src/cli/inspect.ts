import { Command, Option } from "commander";
import { AgentSession } from "../agent/session.ts";
import { prepareCapture } from "../capture/prepare.ts";
import { DoppelError, EXIT } from "../errors.ts";
import { parseReference } from "../image/reference.ts";
import { DISK_FORMAT_NAMES } from "../import/disk-format.ts";
import { planImport } from "../import/import.ts";
import type { ImportOptions } from "../import/prepare.ts";
import { parseFacts } from "../machine/facts.ts";
import { describeFacts } from "../machine/tree.ts";
import { openConnection } from "../ssh/connect.ts";
import { ImageStore } from "../store/image-store.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { describePlan } from "./capture-text.ts";
import { importText } from "./import-text.ts";
import { kindOfSubject } from "./inspect-subject.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

interface InspectFlags {
  disk: string[];
  identity?: string;
  sshConfig?: string;
  image?: boolean;
  file?: boolean;
  format?: string;
  json?: boolean;
}

/** `doppel inspect TARGET | REF | FILE`: machine facts, and what a capture or an import would do. */
export function inspectCommand(): Command {
  return new Command("inspect")
    .description(
      "a machine's facts and what a capture of it would do; or the facts in an image, or of a disk image file",
    )
    .argument(
      "<what>",
      "[user@]host[:port], a Host of your ssh config, an image as name:tag, or a file as ./disk.qcow2",
    )
    .option("--image", "it is an image, although it has no tag")
    .option("--file", "it is a disk image file or an OVA, although it does not look like one")
    .addOption(
      new Option("--format <name>", "what a file is, instead of what it begins with").choices(
        DISK_FORMAT_NAMES,
      ),
    )
    .option(
      "--disk <dev>",
      "a disk to plan for; can be given again",
      (dev: string, all: string[]) => [...all, dev],
      [],
    )
    .option("--identity <file>", "the private key to log in with")
    .option("--ssh-config <file>", "this file instead of ~/.ssh/config")
    .option("--json", "print the result as JSON")
    .action((what: string, flags: InspectFlags) => INSPECT[kindOf(what, flags)](what, flags));
}

const INSPECT = { file: inspectFile, image: inspectImage, machine: inspectMachine };

function kindOf(what: string, flags: InspectFlags): keyof typeof INSPECT {
  if (flags.image && flags.file)
    throw new DoppelError("usage", "--image and --file exclude each other", { exitCode: EXIT.usage });
  return flags.image ? "image" : flags.file ? "file" : kindOfSubject(what);
}

async function inspectMachine(target: string, flags: InspectFlags): Promise<void> {
  const signal = interruptSignal();
  await using connection = await openConnection(target, {
    identities: flags.identity === undefined ? [] : [flags.identity],
    ...(flags.sshConfig === undefined ? {} : { files: { configFile: flags.sshConfig } }),
    signal,
  });
  await using session = await AgentSession.open(connection, { signal });
  const prepared = await prepareCapture(session, { disks: flags.disk, mode: "auto", freezeMs: 0 });
  const { firmwareVariables: _, ...printed } = prepared;
  if (flags.json) printJson(printed);
  else
    process.stdout.write(
      `${describeFacts(prepared.facts)}\nA capture would take:\n${describePlan(prepared)}`,
    );
}

async function inspectFile(path: string, flags: InspectFlags): Promise<void> {
  const options: ImportOptions = {
    level: 3,
    onReadError: "stop",
    format: flags.format,
    allowExternal: false,
    inspect: true,
    cards: [],
    signal: interruptSignal(),
  };
  // Nothing is kept, so no store is made for it.
  await using folder = await temporaryFolder("inspect");
  const prepared = await planImport([path], folder.path, options, {
    stage: (what) => process.stderr.write(`inspect: ${what}\n`),
  });
  if (flags.json) return printJson(prepared);
  process.stdout.write(`${describeFacts(prepared.facts)}\nAn import would take:\n${importText(prepared)}`);
}

async function inspectImage(ref: string, flags: InspectFlags): Promise<void> {
  await using store = await ImageStore.open();
  const image = await store.resolve(parseReference(ref));
  const facts = parseFacts(image.config.doppel.facts, ref);
  if (flags.json) printJson({ facts });
  else process.stdout.write(describeFacts(facts));
}

import { Command } from "commander";
import { AgentSession } from "../agent/session.ts";
import { prepareCapture } from "../capture/prepare.ts";
import { parseReference } from "../image/reference.ts";
import { parseFacts } from "../machine/facts.ts";
import { describeFacts } from "../machine/tree.ts";
import { openConnection } from "../ssh/connect.ts";
import { ImageStore } from "../store/image-store.ts";
import { describePlan } from "./capture-text.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

interface InspectFlags {
  disk: string[];
  identity?: string;
  sshConfig?: string;
  image?: boolean;
  json?: boolean;
}

/** `doppel inspect TARGET | REF`: machine facts, and for a machine what a capture would do. */
export function inspectCommand(): Command {
  return new Command("inspect")
    .description("a machine's facts and what a capture of it would do; or the facts in an image")
    .argument("<what>", "[user@]host[:port], a Host of your ssh config, or an image as name:tag")
    .option("--image", "it is an image, although it has no tag")
    .option(
      "--disk <dev>",
      "a disk to plan for; can be given again",
      (dev: string, all: string[]) => [...all, dev],
      [],
    )
    .option("--identity <file>", "the private key to log in with")
    .option("--ssh-config <file>", "this file instead of ~/.ssh/config")
    .option("--json", "print the result as JSON")
    .action((what: string, flags: InspectFlags) =>
      flags.image || namesImage(what) ? inspectImage(what, flags) : inspectMachine(what, flags),
    );
}

/** `web1:before-upgrade` and `…@sha256:…` are no machines: a port is a number, a host has no such name. */
function namesImage(what: string): boolean {
  return /@sha256:[0-9a-f]{64}$/.test(what) || /^[^@[\]]+:(?!\d+$)[\w.-]+$/.test(what);
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

async function inspectImage(ref: string, flags: InspectFlags): Promise<void> {
  await using store = await ImageStore.open();
  const image = await store.resolve(parseReference(ref));
  const facts = parseFacts(image.config.doppel.facts, ref);
  if (flags.json) printJson({ facts });
  else process.stdout.write(describeFacts(facts));
}

import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { parseReference } from "../image/reference.ts";
import { terminalPrompt } from "../ssh/terminal-prompt.ts";
import { descendantsOf } from "../store/ancestry.ts";
import { Holders } from "../store/holders.ts";
import { ImageStore } from "../store/image-store.ts";
import { readPrivateKey } from "../trust/keys.ts";
import { whoAmI } from "../trust/promote.ts";
import { revokeImage, undoRevocations } from "../trust/revocation.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";

interface RevokeFlags {
  why?: string;
  key?: string;
  children?: boolean;
  undo?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/** `doppel images revoke REF --why TEXT`. */
export function revokeCommand(): Command {
  return new Command("revoke")
    .description("say that an image must not be used any more; it and its children are refused from now on")
    .argument("<ref>", "the image")
    .option("--why <text>", "the reason, which is shown wherever the image is refused")
    .option("--key <file>", "sign it: only who has this private key can take it back")
    .option("--children", "revoke each of its children here, too, so that it travels with them")
    .option("--undo", "take it back")
    .option("--dry-run", "say whom it concerns, and stop")
    .option("--json", "print the result as JSON")
    .action(run);
}

interface Concerned {
  digest: string;
  names: string[];
  machines: string[];
}

async function run(ref: string, flags: RevokeFlags): Promise<void> {
  if (!flags.undo && !flags.why) {
    throw new DoppelError("usage", "say why it is revoked", {
      hint: "--why 'a reason'",
      exitCode: EXIT.usage,
    });
  }
  const key =
    flags.key === undefined ? undefined : await readPrivateKey(flags.key, terminalPrompt, interruptSignal());
  await using store = await ImageStore.open();
  const image = await store.resolve(parseReference(ref));
  const [self, ...children] = concerned(store, image.digest);
  const options = { why: flags.why ?? "", by: whoAmI(), key };
  let undone = 0;
  const images = flags.children ? [image.digest, ...children.map(({ digest }) => digest)] : [image.digest];
  for (const digest of flags.dryRun ? [] : images) {
    const one = await store.load(digest);
    if (flags.undo) undone += (await undoRevocations(store, one, options)).length;
    else await revokeImage(store, one, options);
  }
  const report = { digest: image.digest, machines: self?.machines ?? [], children };
  if (flags.json) {
    return printJson({
      dryRun: flags.dryRun === true,
      ...(flags.undo ? { undone } : { revoked: images }),
      ...report,
    });
  }
  process.stdout.write(`${verdict(flags, image.digest, undone)}\n${flags.undo ? "" : concernText(report)}`);
}

function verdict({ dryRun, undo }: RevokeFlags, digest: string, undone: number): string {
  if (dryRun) return `${digest} would be ${undo ? "usable again" : "revoked"}`;
  if (!undo) return `${digest} is revoked; 'doppel push' tells the registry`;
  return undone > 0
    ? `${digest} is no longer revoked; 'doppel push' tells the registry`
    : `${digest} was not revoked`;
}

function concernText({ machines, children }: { machines: string[]; children: Concerned[] }): string {
  const running = (names: string[]) =>
    names.map((name) => `  machine ${name} runs on it: doppel discard ${name}\n`);
  const lines = running(machines);
  for (const { digest, names, machines: own } of children) {
    lines.push(`child ${digest}${names.length > 0 ? ` (${names.join(", ")})` : ""} is refused, too\n`);
    lines.push(...running(own));
  }
  return lines.join("");
}

/** The image and everything that was made from it, with their names and machines here. */
function concerned({ catalog, home }: ImageStore, digest: string): Concerned[] {
  const holders = catalog.rehearse(() => new Holders(catalog, home));
  return [digest, ...descendantsOf(catalog, digest)].map((one) => ({
    digest: one,
    names: catalog.tagsOf(one).map(({ name, tag }) => `${name}:${tag}`),
    machines: [...holders.machinesOf(one)],
  }));
}

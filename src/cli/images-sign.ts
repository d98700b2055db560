import { Command } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { formatReference, parseReference, type Reference } from "../image/reference.ts";
import { terminalPrompt } from "../ssh/terminal-prompt.ts";
import { ImageStore } from "../store/image-store.ts";
import { keyId, makeKeyPair, readPrivateKey } from "../trust/keys.ts";
import { requireTrusted } from "../trust/require-trusted.ts";
import { goodSignatures, listSignatures, signImage } from "../trust/signatures.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { readDemands, type TrustFlags, withTrustOptions } from "./trust-options.ts";

interface KeygenFlags {
  out: string;
  passphrase: boolean;
  json?: boolean;
}

interface SignFlags {
  key: string;
  identity?: string;
  json?: boolean;
}

/** `doppel images keygen`, `sign`, `signatures`. */
export function signCommands(): Command[] {
  return [
    new Command("keygen")
      .description("make a key pair for signatures; the passphrase is asked for on the terminal")
      .option("-o, --out <prefix>", "the files are PREFIX.key and PREFIX.pub", "doppel")
      .option("--no-passphrase", "do not encrypt the private key, for machines that sign by themselves")
      .option("--json", "print the result as JSON")
      .action(keygen),
    new Command("sign")
      .description("sign an image: its manifest's digest, which covers its config, maps and packs")
      .argument("<ref>", "the image")
      .requiredOption("--key <file>", "the private key, PEM, ECDSA P-256")
      .option("--identity <name>", "the name that is vouched for; by default REF as it is given")
      .option("--json", "print the result as JSON")
      .action(sign),
    withTrustOptions(new Command("signatures"))
      .description(
        "the signatures of an image; with keys or a policy, refuse one that lacks what they demand",
      )
      .argument("<ref>", "the image")
      .option("--json", "print the result as JSON")
      .action(signatures),
  ];
}

async function keygen(flags: KeygenFlags): Promise<void> {
  const passphrase = flags.passphrase ? await askNewPassphrase() : undefined;
  const files = await makeKeyPair(flags.out, passphrase);
  if (flags.json) return printJson(files);
  process.stdout.write(
    `${files.privateKey}: keep it secret\n${files.publicKey}: give it away\n${files.id}\n`,
  );
}

async function askNewPassphrase(): Promise<string> {
  const ask = (text: string) => terminalPrompt({ text, hidden: true }, interruptSignal());
  const first = await ask("Passphrase for the new key: ");
  if (first === undefined) {
    throw new DoppelError("key-locked", "there is no terminal to ask for the new key's passphrase", {
      hint: "run it on a terminal, or with --no-passphrase",
    });
  }
  if (first !== "" && (await ask("The same again: ")) === first) return first;
  throw new DoppelError("usage", first === "" ? "the passphrase is empty" : "the passphrases differ", {
    hint: "--no-passphrase makes a key without one",
    exitCode: EXIT.usage,
  });
}

async function sign(ref: string, flags: SignFlags): Promise<void> {
  const reference = parseReference(ref);
  const key = await readPrivateKey(flags.key, terminalPrompt, interruptSignal());
  await using store = await ImageStore.open();
  const image = await store.resolve(reference);
  const identity = flags.identity ?? nameOf(reference);
  const signature = await signImage(store, image, { key, identity });
  if (flags.json) return printJson({ digest: image.digest, identity, key: keyId(key), signature });
  process.stdout.write(`${image.digest} is signed as ${identity}\n${signature}\n`);
}

/** As other tools write the name that a signature vouches for: without tag where they compare repositories. */
function nameOf({ digest: _, ...reference }: Reference): string {
  return formatReference(reference);
}

async function signatures(ref: string, flags: TrustFlags & { json?: boolean }): Promise<void> {
  const reference = parseReference(ref);
  const demands = { ...(await readDemands(flags)), allowRevoked: true };
  await using store = await ImageStore.open();
  const image = await store.resolve(reference);
  const { signedBy } = await requireTrusted(store, image, reference, demands);
  const good = await goodSignatures(store, image.digest, demands.keys);
  const listed = listSignatures(store, image.digest);
  if (flags.json)
    return printJson({ digest: image.digest, signedBy, verified: good.length > 0, signatures: listed });
  const lines = listed.map(({ created, key }) => `${created}  key ${key ?? "unknown"}\n`).join("");
  const verdict = signedBy === null ? "" : `signed by ${signedBy}: it verifies\n`;
  process.stdout.write(lines === "" ? "no signatures\n" : lines + verdict);
}

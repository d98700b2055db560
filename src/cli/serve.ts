import { join } from "node:path";
import { Command } from "commander";
import { makePrivateFolder } from "../durable-file.ts";
import { DoppelError, EXIT, messageOf } from "../errors.ts";
import { formatReference, parseLocalReference, parseReference } from "../image/reference.ts";
import { ImageExports } from "../nbd/image-exports.ts";
import { NbdServer } from "../nbd/server.ts";
import { ImageStore } from "../store/image-store.ts";
import { formatBytes } from "../units.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { resolveTrusted, type TrustFlags, withUseOptions } from "./trust-options.ts";

interface ServeFlags {
  socket?: string;
  writable?: boolean;
  name?: string;
  json?: boolean;
}

/** `doppel serve REF`: the disks of an image as NBD exports, until Ctrl-C. */
export function serveCommand(): Command {
  return withUseOptions(new Command("serve"))
    .description("serve the disks of an image by the NBD protocol on a Unix socket, until Ctrl-C")
    .argument("<ref>", "the image")
    .option("--socket <path>", "the socket; by default one beside the store")
    .option(
      "--writable",
      "take writes, which never change the image; they are dropped in the end unless --name",
    )
    .option("--name <ref>", "with --writable: seal what was written as a child image of this name")
    .option("--json", "print what was served and sealed as JSON, in the end")
    .action(run);
}

async function run(ref: string, flags: ServeFlags & TrustFlags): Promise<void> {
  if (flags.name !== undefined && !flags.writable) {
    throw new DoppelError("usage", "--name needs --writable: nothing else can be sealed", {
      exitCode: EXIT.usage,
    });
  }
  const childName = flags.name === undefined ? undefined : parseLocalReference(flags.name);
  const signal = interruptSignal();
  await using store = await ImageStore.open();
  await using _name = childName && store.reserveName(childName);
  const reference = parseReference(ref);
  const image = await resolveTrusted(store, reference, flags);
  await using disks = await ImageExports.open(store, image, { writable: flags.writable === true });
  const socketPath = flags.socket ?? (await defaultSocket(store, reference.name));
  const server = await NbdServer.start({
    socketPath,
    exports: disks.exports,
    onFailure: (error) => process.stderr.write(`doppel: a request failed: ${messageOf(error)}\n`),
  });
  const served = describe(socketPath, disks);
  const where = served.map(({ uri, sizeBytes }) => `${uri}  ${formatBytes(sizeBytes)}\n`).join("");
  (flags.json ? process.stderr : process.stdout).write(where);
  try {
    await aborted(signal);
  } finally {
    await server[Symbol.asyncDispose]();
  }
  const sealed = childName && (await disks.seal(childName, "edit"));
  const name = childName && formatReference(childName);
  if (flags.json) {
    const child = sealed && { name, digest: sealed.image.digest, changedBytes: sealed.changedBytes };
    printJson({ socketPath, exports: served, ...(child ? { child } : {}) });
  } else if (sealed) {
    process.stdout.write(`${name}: ${sealed.image.digest}, ${formatBytes(sealed.changedBytes)} differ\n`);
  }
}

async function defaultSocket(store: ImageStore, name: string): Promise<string> {
  const folder = join(store.home, "run");
  await makePrivateFolder(folder);
  return join(folder, `${name.replaceAll("/", "-")}-${process.pid}.sock`);
}

function describe(socketPath: string, { exports }: ImageExports) {
  return exports.map(({ name, sizeBytes, writable }) => {
    const uri = `nbd+unix:///${encodeURIComponent(name)}?socket=${encodeURI(socketPath)}`;
    return { name, sizeBytes, writable, uri };
  });
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
}

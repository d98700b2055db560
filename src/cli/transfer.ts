import { Command, Option } from "commander";
import { DoppelError, EXIT } from "../errors.ts";
import { formatReference, parseLocalReference, parseReference, type Reference } from "../image/reference.ts";
import { pullImage } from "../registry/pull.ts";
import { pushImage, type TransferProgress } from "../registry/push.ts";
import { pushContainerDisk } from "../registry/push-containerdisk.ts";
import { Repository } from "../registry/repository.ts";
import { ImageStore } from "../store/image-store.ts";
import { pullGate } from "../trust/pull-gate.ts";
import { revocationsOver } from "../trust/revocation.ts";
import { formatBytes, formatSeconds } from "../units.ts";
import { chooseDisk } from "./choose-disk.ts";
import { interruptSignal } from "./interrupt.ts";
import { printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import {
  readDemands,
  resolveTrusted,
  type TrustFlags,
  warnOfRevocations,
  withTrustOptions,
  withUseOptions,
} from "./trust-options.ts";

const CONTAINER_DISK = "containerdisk";

interface TransferFlags {
  plainHttp?: boolean;
  mountFrom?: string[];
  as?: string;
  disk?: string;
  json?: boolean;
}

/** `doppel push REF [REMOTE]`: an image into a registry. */
export function pushCommand(): Command {
  return withUseOptions(new Command("push"))
    .description("send an image to a registry; only what is not there yet goes over the network")
    .argument("<ref>", "the image; with a registry in front, the image of that name here")
    .argument("[remote]", "registry.host[:port]/name[:tag]")
    .option(
      "--mount-from <name>",
      "a repository of that registry that may have some of it; can be given again",
      collect,
    )
    .addOption(
      new Option("--as <kind>", "send it as something else: a disk that KubeVirt starts").choices([
        CONTAINER_DISK,
      ]),
    )
    .option("--disk <n>", "with --as: which disk, by name or counted from 0; needed when there are several")
    .option("--plain-http", "talk to the registry without encryption")
    .option("--json", "print the result as JSON")
    .action(push);
}

/** `doppel pull REMOTE [REF]`: an image out of a registry. */
export function pullCommand(): Command {
  return withTrustOptions(new Command("pull"))
    .description("fetch an image from a registry; only what is not here yet goes over the network")
    .argument("<remote>", "registry.host[:port]/name[:tag][@digest]")
    .argument("[ref]", "its name here; by default the name that it has there")
    .option("--plain-http", "talk to the registry without encryption")
    .option("--json", "print the result as JSON")
    .action(pull);
}

function collect(value: string, all: string[] = []): string[] {
  return [...all, value];
}

async function push(
  ref: string,
  remote: string | undefined,
  flags: TransferFlags & TrustFlags,
): Promise<void> {
  if (flags.as === CONTAINER_DISK) return await pushAsContainerDisk(ref, remote, flags);
  refuseDemands(flags);
  const target = remoteReference(remote ?? ref);
  const local = parseReference(ref);
  const mountFrom = (flags.mountFrom ?? []).map((name) => parseLocalReference(name).name);
  await using store = await ImageStore.open();
  const image = await store.resolve(local);
  await using repository = await openRepository(target, "push", flags);
  using progress = transferProgress("push", "sent");
  const report = await pushImage(store, image, repository, {
    tag: target.tag,
    mountFrom,
    onProgress: progress.update,
  });
  const name = formatReference(target);
  store.catalog.addRemote(report.digest, name);
  if (flags.json) return printJson({ ref, remote: name, ...report });
  const sent = `${formatBytes(report.sentBytes)} of ${formatBytes(report.totalBytes)} sent`;
  process.stdout.write(`${ref} is ${name}: ${sent} in ${progress.seconds()}\n${report.digest}\n`);
}

async function pushAsContainerDisk(
  ref: string,
  remote: string | undefined,
  flags: TransferFlags & TrustFlags,
): Promise<void> {
  if (remote === undefined) {
    throw new DoppelError("usage", "--as needs to be told where to: the image's own name is the image's", {
      hint: `doppel push ${ref} registry.example.org/disks/NAME:TAG --as ${flags.as}`,
      exitCode: EXIT.usage,
    });
  }
  const target = remoteReference(remote);
  const local = parseReference(ref);
  await using store = await ImageStore.open();
  const image = await resolveTrusted(store, local, flags);
  const disk = chooseDisk(image, flags.disk);
  await using repository = await openRepository(target, "push", flags);
  using progress = transferProgress("push", "sent");
  const report = await pushContainerDisk(store, image, repository, {
    tag: target.tag,
    name: local.name,
    disk,
    onProgress: progress.update,
  });
  const name = formatReference(target);
  if (flags.json) return printJson({ ref, remote: name, disk, ...report });
  const sent = `${formatBytes(report.sentBytes)} sent in ${progress.seconds()}`;
  process.stdout.write(`${name} is a container disk of ${ref}: /${report.path}, ${sent}\n${report.digest}\n`);
}

/** An image goes to a registry as it is, with its signatures and revocations: who uses it there or from there is held to them. */
function refuseDemands({ requireSignature, policy, allowRevoked }: TrustFlags): void {
  if (requireSignature.length === 0 && policy === undefined && allowRevoked === undefined) return;
  throw new DoppelError(
    "usage",
    "--require-signature, --policy and --allow-revoked are for what is sent as something else",
    { hint: `add --as ${CONTAINER_DISK}, or leave them out`, exitCode: EXIT.usage },
  );
}

async function pull(
  remote: string,
  ref: string | undefined,
  flags: TransferFlags & TrustFlags,
): Promise<void> {
  const demands = await readDemands(flags);
  const source = remoteReference(remote);
  const local = ref === undefined ? { name: source.name, tag: source.tag } : parseLocalReference(ref);
  await using store = await ImageStore.open();
  await using _name = store.reserveName(local);
  await using repository = await openRepository(source, "pull", flags);
  using progress = transferProgress("pull", "received");
  const { image, report } = await pullImage(store, repository, source.digest ?? source.tag, local, {
    accept: pullGate(store, source, demands),
    onProgress: progress.update,
  });
  store.catalog.addRemote(report.digest, formatReference(source));
  const revocations = await revocationsOver(store, image.digest);
  warnOfRevocations({ revocations });
  if (report.leftAttachments.length > 0)
    process.stderr.write(
      `warning: not fetched, too large or of another form: ${report.leftAttachments.join(", ")}\n`,
    );
  const name = formatReference(local);
  if (flags.json) return printJson({ ref: name, remote: formatReference(source), ...report, revocations });
  const received = `${formatBytes(report.receivedBytes)} of ${formatBytes(report.totalBytes)} received`;
  process.stdout.write(`${name} is here: ${received} in ${progress.seconds()}\n${report.digest}\n`);
}

function remoteReference(text: string): Reference & { registry: string } {
  const reference = parseReference(text);
  if (reference.registry !== undefined) return { ...reference, registry: reference.registry };
  throw new DoppelError("reference-invalid", `'${text}' does not say which registry`, {
    hint: `write it like registry.example.org/${text}`,
    exitCode: EXIT.usage,
  });
}

/** Opens the repository that a reference names. */
export function openRepository(
  { registry, name }: Reference & { registry: string },
  access: "pull" | "push",
  { plainHttp = false }: { plainHttp?: boolean },
): Promise<Repository> {
  return Repository.open({ registry, name, access, plainHttp, signal: interruptSignal() });
}

function transferProgress(label: string, word: string) {
  const bar = createProgress(label);
  const started = performance.now();
  return {
    update: ({ doneBytes, totalBytes, movedBytes }: TransferProgress) =>
      bar.update({ doneBytes, totalBytes, note: `${word} ${formatBytes(movedBytes)}` }),
    seconds: () => formatSeconds((performance.now() - started) / 1000),
    [Symbol.dispose]: () => bar.stop(),
  };
}

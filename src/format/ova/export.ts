import { createHash } from "node:crypto";
import { CLUSTER_BYTES } from "../../image/cluster.ts";
import type { ImageConfig } from "../../image/config.ts";
import type { DiskReader } from "../../image/disk-reader.ts";
import { type MachineFacts, parseFacts } from "../../machine/facts.ts";
import type { OutputFile } from "../../output-file.ts";
import type { WriteOptions, WriteProgress } from "../format.ts";
import { StreamWriter } from "../vmdk/stream.ts";
import { type OvfDisk, type OvfMachine, ovfDescriptor, systemOf } from "./ovf.ts";
import { paddedBytes, TAR_BLOCK_BYTES, tarHeader } from "./tar-header.ts";

/** A whole image, to be written as one OVA. */
export interface OvaSource {
  /** The name of the virtual machine. */
  name: string;
  config: ImageConfig;
  disks: readonly DiskReader[];
}

/** Two blocks of zeros. */
const END_BYTES = 2 * TAR_BLOCK_BYTES;

/**
 * Writes an OVA (DMTF DSP0243, 5.1 and 5.3): descriptor, disks as VMDK streams, manifest at the end. One pass: each disk is
 * compressed where it will lie; what depends on the sizes (headers, descriptor) is filled in afterwards.
 */
export async function writeOva(source: OvaSource, output: OutputFile, options: WriteOptions): Promise<void> {
  const facts = parseFacts(source.config.doppel.facts, source.name);
  const name = source.name.replace(/[^A-Za-z0-9._-]/g, "-");
  const disks: OvfDisk[] = source.disks.map((disk, index) => ({
    fileName: `${name}-disk${index}.vmdk`,
    fileBytes: 0,
    capacityBytes: disk.diskBytes,
  }));
  const machine = describe(source, facts, disks);
  const ovfName = `${name}.ovf`;
  const ovfBytes = Buffer.byteLength(ovfDescriptor(machine));
  const progress = new Progress(source.disks, options);
  const manifest: string[] = [];
  let at = TAR_BLOCK_BYTES + paddedBytes(ovfBytes);
  for (const [index, disk] of source.disks.entries()) {
    const entry = disks[index];
    if (!entry) continue;
    const hash = createHash("sha256");
    const writer = new StreamWriter(disk, output, at + TAR_BLOCK_BYTES, (bytes) => hash.update(bytes));
    entry.fileBytes = await writer.write({ ...options, onProgress: progress.of(index) });
    manifest.push(manifestLine(entry.fileName, hash.digest("hex")));
    await output.writeAt(await tarHeader(entry.fileName, entry.fileBytes), at);
    at += TAR_BLOCK_BYTES + paddedBytes(entry.fileBytes);
  }
  const ovf = Buffer.from(ovfDescriptor(machine));
  manifest.unshift(manifestLine(ovfName, createHash("sha256").update(ovf).digest("hex")));
  await writeMember(output, 0, ovfName, ovf);
  at += await writeMember(output, at, `${name}.mf`, Buffer.from(manifest.join("")));
  await output.writeAt(Buffer.alloc(END_BYTES), at);
}

function describe({ config, name }: OvaSource, facts: MachineFacts, disks: readonly OvfDisk[]): OvfMachine {
  const cards = facts.nics.filter(({ kind }) => kind === "physical");
  return {
    name,
    cpus: facts.hardware.cpus,
    memoryBytes: facts.hardware.memoryBytes,
    firmware: facts.firmware.type,
    paravirtual: config.doppel.conversion?.target === "vmware",
    macs: cards.flatMap(({ permanentMac, mac }) => permanentMac ?? mac ?? []),
    os: systemOf(facts),
    disks,
  };
}

function manifestLine(name: string, sha256: string): string {
  return `SHA256(${name})= ${sha256}\n`;
}

async function writeMember(output: OutputFile, at: number, name: string, content: Buffer): Promise<number> {
  const padding = Buffer.alloc(paddedBytes(content.length) - content.length);
  const bytes = Buffer.concat([await tarHeader(name, content.length), content, padding]);
  await output.writeAt(bytes, at);
  return bytes.length;
}

/** The progress of several disks as one. */
class Progress {
  readonly #done: number[];
  readonly #totalBytes: number;
  readonly #options: WriteOptions;

  constructor(disks: readonly DiskReader[], options: WriteOptions) {
    this.#done = disks.map(() => 0);
    this.#totalBytes = disks.reduce((sum, disk) => sum + disk.map.coveredClusters * CLUSTER_BYTES, 0);
    this.#options = options;
  }

  of(index: number): (progress: WriteProgress) => void {
    return ({ doneBytes }) => {
      this.#done[index] = doneBytes;
      const all = this.#done.reduce((sum, bytes) => sum + bytes, 0);
      this.#options.onProgress?.({ doneBytes: all, totalBytes: this.#totalBytes });
    };
  }
}

import { basename } from "node:path";
import type { AgentMessageOf } from "../agent/wire.ts";
import type { ByteRange } from "../image/changed-ranges.ts";
import { buildImageConfig, type DoppelConfig, type Grade, type ReadErrorRecord } from "../image/config.ts";
import { type Descriptor, MEDIA_TYPES } from "../image/manifest.ts";
import type { Reference } from "../image/reference.ts";
import type { MachineFacts } from "../machine/facts.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import type { WrittenImage } from "../store/image-writer.ts";
import type { PreparedCapture } from "./prepare.ts";

/** What happened during the copy. */
export interface CopyRecord {
  grade: Grade;
  frozenMilliseconds: number | null;
  /** Per disk. */
  readErrors: ReadErrorRecord[][];
  warnings: string[];
  end: AgentMessageOf<"capture-end">["body"];
}

interface SealOptions {
  prepared: PreparedCapture;
  record: CopyRecord;
  written: WrittenImage;
  /** Digest of the image that the disks were compared with. */
  parent: string | null;
  /** Per disk: what differs from the parent's; undefined for a disk that the parent does not have. */
  changed: readonly (ByteRange[] | undefined)[];
  level: number;
  agentVersion: string;
  startedAt: Date;
}

/** Writes config and manifest and gives the image its name: from here on it exists. */
export async function sealImage(
  store: ImageStore,
  reference: Reference,
  options: SealOptions,
): Promise<StoredImage> {
  const { written, prepared } = options;
  const created = new Date().toISOString();
  const firmwareVariables = await writeVariables(store, prepared);
  const doppel = describe(options, created);
  if (firmwareVariables) doppel.firmwareVariables = firmwareVariables.digest;
  const config = buildImageConfig(doppel, { architecture: architectureOf(prepared.facts), created });
  return await store.commitImage(reference, { ...written, config, firmwareVariables });
}

/** The machine's UEFI variables as a blob of their own: docs/image-format.md, Firmware variables. */
async function writeVariables(
  store: ImageStore,
  { firmwareVariables }: PreparedCapture,
): Promise<Descriptor | undefined> {
  if (firmwareVariables.length === 0) return undefined;
  const blob = Buffer.from(JSON.stringify({ version: 1, variables: firmwareVariables }));
  const { digest, sizeBytes } = await store.blobs.put(blob);
  return { mediaType: MEDIA_TYPES.firmwareVariables, digest, size: sizeBytes };
}

function describe({ prepared, record, written, ...options }: SealOptions, finishedAt: string): DoppelConfig {
  const names = uniqueNames(prepared.disks.map((disk) => disk.device));
  return {
    version: 1,
    grade: record.grade,
    host: prepared.facts.os.hostname ?? "unknown",
    disks: prepared.disks.map((disk, index) => ({
      name: names[index] ?? `disk${index}`,
      device: disk.device,
      sizeBytes: disk.sizeBytes,
      logicalSectorBytes: disk.logicalSectorBytes,
      map: written.maps[index]?.digest ?? "",
      dataBytes: written.dataBytes[index] ?? 0,
      regions: disk.regions,
      readErrors: (record.readErrors[index] ?? []).map(({ cluster, offsetBytes, lengthBytes, message }) => ({
        cluster,
        offsetBytes,
        lengthBytes,
        message,
      })),
      ...(options.changed[index] ? { changed: options.changed[index] } : {}),
    })),
    facts: prepared.facts,
    lineage: { kind: "capture", parent: options.parent },
    capture: {
      startedAt: options.startedAt.toISOString(),
      finishedAt,
      agentVersion: options.agentVersion,
      level: options.level,
      readBytes: record.end.readBytes,
      sentBytes: record.end.sentBytes,
      frozenMilliseconds: record.frozenMilliseconds,
    },
  };
}

/** Short names of devices: `/dev/sda` is `sda`; a second one of the same name gets a number. */
function uniqueNames(devices: readonly string[]): string[] {
  const names: string[] = [];
  for (const device of devices) {
    const short =
      basename(device)
        .replace(/[^A-Za-z0-9._-]/g, "-")
        .replace(/^[^A-Za-z0-9]+/, "")
        .slice(0, 60) || "disk";
    let name = short;
    for (let number = 2; names.includes(name); number++) name = `${short}-${number}`;
    names.push(name);
  }
  return names;
}

/** The OCI name of the machine's architecture (Go's GOARCH). */
function architectureOf(facts: MachineFacts): string {
  return facts.hardware.arch === "aarch64" ? "arm64" : "amd64";
}

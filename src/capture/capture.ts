import { AgentSession, type CaptureMessage, type CaptureRequest } from "../agent/session.ts";
import type { AgentMessageOf } from "../agent/wire.ts";
import type { ReadErrorRecord } from "../image/config.ts";
import type { Reference } from "../image/reference.ts";
import type { PlannedDisk } from "../machine/plan.ts";
import type { SshConnection } from "../ssh/connection.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { ImageWriter } from "../store/image-writer.ts";
import { type CopyConditions, gradeOf } from "./grade.ts";
import { type CaptureMode, type PreparedCapture, prepareCapture, refuseUnready } from "./prepare.ts";
import { type CopyRecord, sealImage } from "./seal.ts";

export interface CaptureOptions {
  /** Devices to capture; empty: chosen from the machine facts. */
  disks: string[];
  mode: CaptureMode;
  level: number;
  onReadError: "stop" | "zero";
  limitRateBytesPerSecond: number;
  limitCpuPercent: number;
  priority: "low" | "normal";
  /** Keep every writable file system of the disks frozen for the whole copy, at most this long; 0: do not. */
  freezeMs: number;
  signal?: AbortSignal;
}

/** What a capture tells while it runs. */
export interface CaptureEvents {
  prepared?: (prepared: PreparedCapture) => void;
  progress?: (progress: CaptureProgress) => void;
  warning?: (message: string) => void;
}

export interface CaptureProgress {
  doneBytes: number;
  totalBytes: number;
  sentBytes: number;
  elapsedMs: number;
}

export interface CaptureResult {
  image: StoredImage;
  record: CopyRecord;
  storedBytes: number;
}

/**
 * Captures a machine's disks into an image: prepare, copy, seal. Nothing is visible in the store before the image is
 * whole; an interruption leaves only blobs that garbage collection takes.
 */
export async function captureMachine(
  connection: SshConnection,
  store: ImageStore,
  reference: Reference,
  options: CaptureOptions,
  events: CaptureEvents = {},
): Promise<CaptureResult> {
  await using _name = store.reserveName(reference);
  const startedAt = new Date();
  await using session = await AgentSession.open(connection, {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onWarning: ({ message }) => events.warning?.(message),
  });
  const prepared = await prepareCapture(session, options);
  events.prepared?.(prepared);
  refuseUnready(prepared);
  const usedBytes = prepared.disks.reduce((sum, disk) => sum + disk.usedBytes, 0);
  await using writer = new ImageWriter(() => store.createBlob(), usedBytes);
  const record = await copyDisks(session, prepared, writer, options, events);
  const written = await writer.finish();
  const image = await sealImage(store, reference, {
    prepared,
    record,
    written,
    level: options.level,
    agentVersion: session.hello.version,
    startedAt,
  });
  return { image, record, storedBytes: writer.storedBytes };
}

async function copyDisks(
  session: AgentSession,
  prepared: PreparedCapture,
  writer: ImageWriter,
  options: CaptureOptions,
  events: CaptureEvents,
): Promise<CopyRecord> {
  const copy = new Copy(prepared.disks, writer, events);
  const freeze = prepared.freezeMountpoints;
  const request: CaptureRequest = {
    disks: prepared.disks.map((disk) => disk.device),
    refreshMetadata: freeze.length === 0 && options.mode !== "fuzzy",
    level: options.level,
    threads: 0,
    limitRateBytesPerSecond: options.limitRateBytesPerSecond,
    limitCpuPercent: options.limitCpuPercent,
    onReadError: options.onReadError,
    priority: options.priority,
    freeze: freeze.length === 0 ? null : { mountpoints: freeze, budgetMilliseconds: options.freezeMs },
    pass: 0,
  };
  for await (const message of session.capture(request)) await copy.take(message);
  return copy.record();
}

/** Follows the messages of one capture. */
class Copy {
  readonly #disks: readonly PlannedDisk[];
  readonly #writer: ImageWriter;
  readonly #events: CaptureEvents;
  readonly #readErrors: ReadErrorRecord[][];
  readonly #warnings: string[] = [];
  #earlierClusters = 0;
  #thawed: AgentMessageOf<"thawed">["body"] | undefined;
  #end: CopyRecord["end"] | undefined;

  constructor(disks: readonly PlannedDisk[], writer: ImageWriter, events: CaptureEvents) {
    this.#disks = disks;
    this.#writer = writer;
    this.#events = events;
    this.#readErrors = disks.map(() => []);
  }

  async take(message: CaptureMessage): Promise<void> {
    switch (message.type) {
      case "disk-begin":
        return await this.#writer.beginDisk(message.body.sizeBytes);
      case "clusters":
        return await this.#writer.add(message.disk, message.runs, message.table, message.frames);
      case "read-error":
        this.#readErrors[message.body.disk]?.push(message.body);
        return this.#warn(
          `${message.body.message} at sector ${message.body.sector} of disk ${message.body.disk}: taken as zeros`,
        );
      case "warning":
        return this.#warn(message.body.message);
      case "thawed":
        this.#thawed = message.body;
        return;
      case "stats":
        return this.#report(message.body);
      case "disk-end":
        this.#earlierClusters += this.#disks[message.body.disk]?.usedClusters ?? 0;
        return;
      case "capture-end":
        this.#end = message.body;
        return;
      case "zeros":
      case "frozen":
        return;
    }
  }

  record(): CopyRecord {
    if (!this.#end) throw new Error("a capture ends with its totals");
    const writableMounts = this.#disks.some((disk) => disk.writable);
    return {
      grade: gradeOf({ writableMounts, mounts: this.#mounts() }),
      frozenMilliseconds: this.#thawed?.heldMilliseconds ?? null,
      readErrors: this.#readErrors,
      warnings: this.#warnings,
      end: this.#end,
    };
  }

  #mounts(): CopyConditions["mounts"] {
    if (!this.#thawed) return "written";
    const { byWatchdog, unfrozen } = this.#thawed;
    if (byWatchdog) this.#warn("the freeze budget was over before the copy was: the image is fuzzy");
    for (const { mountpoint, written, synced } of unfrozen) {
      if (written)
        this.#warn(`${mountpoint} cannot be frozen, and was written to meanwhile: the image is fuzzy`);
      else if (!synced)
        this.#warn(`${mountpoint} cannot be frozen; it is in the image as it was on the disk`);
    }
    if (byWatchdog || unfrozen.some(({ written }) => written)) return "written";
    return unfrozen.every(({ synced }) => synced) ? "frozen" : "still";
  }

  #report(stats: { clustersDone: number; sentBytes: number; elapsedMilliseconds: number }): void {
    const planned = this.#disks.reduce((sum, disk) => sum + disk.usedClusters, 0);
    this.#events.progress?.({
      doneBytes: (this.#earlierClusters + stats.clustersDone) * 65_536,
      totalBytes: planned * 65_536,
      sentBytes: stats.sentBytes,
      elapsedMs: stats.elapsedMilliseconds,
    });
  }

  #warn(message: string): void {
    this.#warnings.push(message);
    this.#events.warning?.(message);
  }
}

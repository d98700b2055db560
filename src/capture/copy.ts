import type { CaptureMessage } from "../agent/session.ts";
import type { AgentMessageOf } from "../agent/wire.ts";
import type { ReadErrorRecord } from "../image/config.ts";
import type { DiskMap } from "../image/disk-map.ts";
import type { PlannedDisk } from "../machine/plan.ts";
import type { ImageWriter } from "../store/image-writer.ts";
import { type CopyConditions, gradeOf } from "./grade.ts";
import type { CopyRecord } from "./seal.ts";

/** What a copy tells while it runs. */
export interface CopyEvents {
  progress?: (progress: CaptureProgress) => void;
  warning?: (message: string) => void;
}

export interface CaptureProgress {
  doneBytes: number;
  totalBytes: number;
  sentBytes: number;
  elapsedMs: number;
}

/** Follows the messages of one capture. */
export class Copy {
  readonly #disks: readonly PlannedDisk[];
  readonly #writer: ImageWriter;
  readonly #bases: readonly (DiskMap | undefined)[];
  readonly #events: CopyEvents;
  readonly #readErrors: ReadErrorRecord[][];
  readonly #warnings: string[] = [];
  #earlierClusters = 0;
  #thawed: AgentMessageOf<"thawed">["body"] | undefined;
  #end: CopyRecord["end"] | undefined;

  /** `bases`: what each disk is compared with. */
  constructor(
    disks: readonly PlannedDisk[],
    writer: ImageWriter,
    bases: readonly (DiskMap | undefined)[],
    events: CopyEvents,
  ) {
    this.#disks = disks;
    this.#bases = bases;
    this.#writer = writer;
    this.#events = events;
    this.#readErrors = disks.map(() => []);
  }

  async take(message: CaptureMessage): Promise<void> {
    switch (message.type) {
      case "disk-begin":
        return await this.#writer.beginDisk(message.body.sizeBytes, this.#bases[message.body.disk]);
      case "clusters":
        return await this.#writer.add(message.disk, message.runs, message.table, message.frames);
      case "same":
        return await this.#writer.addSame(message.disk, message.runs);
      case "read-error":
        this.#readErrors[message.body.disk]?.push(message.body);
        return this.warn(
          `${message.body.message} at sector ${message.body.sector} of disk ${message.body.disk}: taken as zeros`,
        );
      case "warning":
        return this.warn(message.body.message);
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
    if (byWatchdog) this.warn("the freeze budget was over before the copy was: the image is fuzzy");
    for (const { mountpoint, written, synced } of unfrozen) {
      if (written)
        this.warn(`${mountpoint} cannot be frozen, and was written to meanwhile: the image is fuzzy`);
      else if (!synced) this.warn(`${mountpoint} cannot be frozen; it is in the image as it was on the disk`);
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

  /** Records a warning and tells it. */
  warn(message: string): void {
    this.#warnings.push(message);
    this.#events.warning?.(message);
  }
}

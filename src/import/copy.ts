import type { AgentSession, CaptureMessage } from "../agent/session.ts";
import type { AgentMessageOf } from "../agent/wire.ts";
import { CLUSTER_BYTES } from "../image/cluster.ts";
import type { ReadErrorRecord } from "../image/config.ts";
import type { CapturePlan } from "../machine/plan.ts";
import type { ImageWriter } from "../store/image-writer.ts";

export interface ImportProgress {
  doneBytes: number;
  totalBytes: number;
  storedBytes: number;
}

export type CopyTotals = AgentMessageOf<"capture-end">["body"];

export interface CopyOptions {
  level: number;
  onReadError: "stop" | "zero";
}

export interface CopyEvents {
  progress?: (progress: ImportProgress) => void;
  warning?: (message: string) => void;
}

/** Lets the agent copy disks into packs and maps. `sockets` are the disks of the plan, in their order. */
export async function copyDisks(
  session: AgentSession,
  sockets: string[],
  plan: CapturePlan,
  writer: ImageWriter,
  options: CopyOptions,
  events: CopyEvents,
): Promise<{ totals: CopyTotals; readErrors: ReadErrorRecord[][] }> {
  const copy = new DiskCopy(plan, writer, events);
  const request = {
    disks: sockets,
    refreshMetadata: false,
    level: options.level,
    // Nobody else's machine is to be spared.
    threads: 0,
    limitRateBytesPerSecond: 0,
    limitCpuPercent: 0,
    onReadError: options.onReadError,
    priority: "normal" as const,
    freeze: null,
    pass: 0,
  };
  for await (const message of session.capture(request)) await copy.take(message);
  if (!copy.totals) throw new Error("a copy ends with its totals");
  return { totals: copy.totals, readErrors: copy.readErrors };
}

class DiskCopy {
  readonly readErrors: ReadErrorRecord[][];
  totals: CopyTotals | undefined;
  readonly #plan: CapturePlan;
  readonly #writer: ImageWriter;
  readonly #events: CopyEvents;
  #earlierClusters = 0;

  constructor(plan: CapturePlan, writer: ImageWriter, events: CopyEvents) {
    this.readErrors = plan.disks.map(() => []);
    this.#plan = plan;
    this.#writer = writer;
    this.#events = events;
  }

  async take(message: CaptureMessage): Promise<void> {
    switch (message.type) {
      case "disk-begin":
        return await this.#writer.beginDisk(message.body.sizeBytes);
      case "clusters":
        return await this.#writer.add(message.disk, message.runs, message.table, message.frames);
      case "read-error": {
        const { disk, cluster, offsetBytes, lengthBytes, message: why } = message.body;
        this.readErrors[disk]?.push({ cluster, offsetBytes, lengthBytes, message: why });
        const device = this.#plan.disks[disk]?.device;
        return this.#events.warning?.(`${why} at byte ${offsetBytes} of ${device}: taken as zeros`);
      }
      case "warning":
        return this.#events.warning?.(message.body.message);
      case "stats":
        return this.#report(message.body.clustersDone);
      case "disk-end":
        this.#earlierClusters += this.#plan.disks[message.body.disk]?.usedClusters ?? 0;
        return this.#report(0);
      case "capture-end":
        this.totals = message.body;
        return;
    }
  }

  #report(clustersDone: number): void {
    const planned = this.#plan.disks.reduce((sum, disk) => sum + disk.usedClusters, 0);
    this.#events.progress?.({
      doneBytes: (this.#earlierClusters + clustersDone) * CLUSTER_BYTES,
      totalBytes: planned * CLUSTER_BYTES,
      storedBytes: this.#writer.storedBytes,
    });
  }
}

import { DoppelError } from "../errors.ts";
import { Interleaving } from "./interleaving.ts";
import type { AgentMessage } from "./wire.ts";
import type { RunBatch } from "./wire-clusters.ts";

interface DiskState {
  clusters: number;
  /** The first cluster that a later run of the same pass may start with, by kind. */
  next: Map<string, number>;
  interleaving: Interleaving;
}

/** Checks across messages what a message cannot show alone: disks in order, runs ascending and within the disk. */
export class BatchOrder {
  readonly #diskCount: number;
  readonly #disks = new Map<number, DiskState>();
  #open: number | undefined;

  constructor(diskCount: number) {
    this.#diskCount = diskCount;
  }

  /** Throws `agent-protocol`. */
  check(message: AgentMessage): void {
    if (message.type === "disk-begin") this.#begin(message.body.disk, message.body.clusters);
    else if (isBatch(message)) this.#batch(message);
    else if (message.type === "disk-end") this.#end(message.body.disk);
    else if (message.type === "capture-end" && this.#open !== undefined) {
      throw broken(`the capture ended within disk ${this.#open}`);
    }
  }

  #begin(disk: number, clusters: number): void {
    if (this.#open !== undefined || disk >= this.#diskCount) throw broken(`disk ${disk} began out of turn`);
    this.#open = disk;
    this.#disks.set(disk, {
      clusters,
      next: this.#disks.get(disk)?.next ?? new Map(),
      interleaving: new Interleaving(),
    });
  }

  #end(disk: number): void {
    if (this.#open !== disk) throw broken(`disk ${disk} ended out of turn`);
    this.#open = undefined;
  }

  #batch({ type, disk, pass, runs }: Batch): void {
    const state = this.#open === disk ? this.#disks.get(disk) : undefined;
    if (state === undefined) throw broken(`${type} of disk ${disk} out of turn`);
    const kind = `${type} ${pass}`;
    let next = state.next.get(kind) ?? 0;
    for (const { firstCluster, count } of runs) {
      if (firstCluster < next)
        throw broken(`${type} of disk ${disk}: cluster ${firstCluster} comes after ${next - 1}`);
      next = firstCluster + count;
    }
    if (next > state.clusters)
      throw broken(`cluster ${next - 1} of disk ${disk}, which has ${state.clusters}`);
    state.next.set(kind, next);
    if (type !== "zeros" && !state.interleaving.takes(type, pass, runs))
      throw broken(`${type} of disk ${disk}: cluster ${runs[0]?.firstCluster} is out of order`);
  }
}

type Batch = { type: "clusters" | "same" | "zeros" } & RunBatch;

function isBatch(message: AgentMessage): message is Extract<AgentMessage, { type: Batch["type"] }> {
  return message.type === "clusters" || message.type === "same" || message.type === "zeros";
}

function broken(what: string): DoppelError {
  return new DoppelError("agent-protocol", `the agent broke its protocol: ${what}`);
}

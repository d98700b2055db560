import type { ClusterRun } from "./wire-clusters.ts";

/**
 * How SAME and CLUSTERS of one disk mix: a SAME lies behind everything before it; the CLUSTERS that follows it may lie among
 * its runs; whatever comes next lies behind both.
 */
export class Interleaving {
  #pass = -1;
  /** The first cluster that the next message may have. */
  #next = 0;
  #same: readonly ClusterRun[] = [];

  /** False when a message is out of order; its own runs ascend. */
  takes(type: "same" | "clusters", pass: number, runs: readonly ClusterRun[]): boolean {
    if (pass !== this.#pass) this.#restart(pass);
    if (type === "same") {
      this.#next = Math.max(this.#next, endOf(this.#same.at(-1)));
      this.#same = runs;
      return startOf(runs) >= this.#next;
    }
    const fits = startOf(runs) >= this.#next && !overlap(runs, this.#same);
    this.#next = Math.max(endOf(this.#same.at(-1)), endOf(runs.at(-1)));
    this.#same = [];
    return fits;
  }

  #restart(pass: number): void {
    this.#pass = pass;
    this.#next = 0;
    this.#same = [];
  }
}

/** Both lists ascend. */
function overlap(left: readonly ClusterRun[], right: readonly ClusterRun[]): boolean {
  let at = 0;
  for (const run of left) {
    while (at < right.length && endOf(right[at]) <= run.firstCluster) at++;
    const other = right[at];
    if (other && other.firstCluster < endOf(run)) return true;
  }
  return false;
}

function startOf(runs: readonly ClusterRun[]): number {
  return runs[0]?.firstCluster ?? 0;
}

function endOf(run: ClusterRun | undefined): number {
  return run ? run.firstCluster + run.count : 0;
}

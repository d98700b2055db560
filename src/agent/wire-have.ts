import { HASH_BYTES } from "../image/cluster.ts";
import type { HashRun } from "../image/pack-hashes.ts";
import { recordLayout } from "../image/record.ts";

// HAVE: docs/agent-protocol.md, "HAVE".

/** Most hashes of one message. */
export const MOST_HASHES = 4096;

const FIXED = recordLayout("little", 16, {
  disk: [0, "u32"],
  runCount: [4, "u32"],
  hashCount: [8, "u32"],
  last: [12, "u32"],
});

const RUN = recordLayout("little", 16, { firstCluster: [0, "u64"], count: [8, "u32"] });

/** The payload of a HAVE message; `runs` ascend. */
export function encodeHave(disk: number, runs: readonly HashRun[], last: boolean): Buffer {
  const hashCount = runs.reduce((sum, { hashes }) => sum + hashes.length / HASH_BYTES, 0);
  const fixed = FIXED.write({ disk, runCount: runs.length, hashCount, last: last ? 1 : 0 });
  const table = runs.map(({ firstCluster, hashes }) =>
    RUN.write({ firstCluster, count: hashes.length / HASH_BYTES }),
  );
  return Buffer.concat([fixed, ...table, ...runs.map(({ hashes }) => hashes)]);
}

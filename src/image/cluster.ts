/** Bytes of a cluster: the unit of change, compression and hashing, and a qcow2 cluster. */
export const CLUSTER_BYTES = 65_536;

/** Bytes kept of the SHA-256 of a raw cluster. */
export const HASH_BYTES = 16;

/** Length of the frame of a cluster that does not compress: its only block is raw. No frame is longer. */
export const RAW_FRAME_BYTES = 65_550;

/** Where the cluster's bytes start within a raw frame. */
export const RAW_FRAME_PAYLOAD_OFFSET = 10;

/** Number of clusters that a disk of `diskBytes` has, the last one perhaps padded. */
export function clusterCount(diskBytes: number): number {
  return Math.ceil(diskBytes / CLUSTER_BYTES);
}

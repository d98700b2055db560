import { z } from "zod";

const bytes = z.int().nonnegative();

const regionSchema = z.object({
  offsetBytes: bytes,
  lengthBytes: bytes,
  kind: z.string(),
  method: z.enum(["allocation-map", "header", "whole"]),
  usedBytes: bytes,
  partition: z.int().optional(),
  path: z.string().optional(),
  mountpoint: z.string().optional(),
  reason: z.string().optional(),
});

const diskSchema = z.object({
  device: z.string(),
  sizeBytes: bytes,
  logicalSectorBytes: z.int(),
  clusters: bytes,
  usedClusters: bytes,
  usedBytes: bytes,
  /** Every mountpoint of a file system that lies on the disk, through whatever is stacked on it. */
  mounted: z.array(z.string()),
  /** One of them can be written. */
  writable: z.boolean(),
  swapActive: z.boolean().default(false),
  table: z.string(),
  regions: z.array(regionSchema),
});

/** The agent's PLAN: docs/agent-protocol.md. */
export const capturePlanSchema = z.object({ disks: z.array(diskSchema) });

export type CapturePlan = z.infer<typeof capturePlanSchema>;
export type PlannedDisk = CapturePlan["disks"][number];

import { formatBytes } from "../units.ts";

interface Region {
  lengthBytes: number;
  kind: string;
  method: string;
  usedBytes: number;
  partition?: number | undefined;
  path?: string | undefined;
  mountpoint?: string | undefined;
  reason?: string | undefined;
}

/** Taken always and of no interest alone: partition tables and the space in no partition. */
const SURROUNDINGS = new Set(["partition-table", "boot-gap", "gap"]);

/** Rows of a disk's regions, for `table`: each partition, then what surrounds them in one row. */
export function regionRows(regions: readonly Region[]): string[][] {
  const rows = regions.filter(({ kind }) => !SURROUNDINGS.has(kind)).map(rowOf);
  const others = regions.filter(({ kind }) => SURROUNDINGS.has(kind));
  if (others.length === 0) return rows;
  const sum = (of: (region: Region) => number) => others.reduce((total, region) => total + of(region), 0);
  const length = sum((region) => region.lengthBytes);
  const used = sum((region) => region.usedBytes);
  return [...rows, ["", "tables, gaps", "", formatBytes(length), `${formatBytes(used)} used`, "", "whole"]];
}

function rowOf(region: Region): string[] {
  return [
    "",
    region.path ?? (region.partition ? `partition ${region.partition}` : "whole disk"),
    region.kind,
    formatBytes(region.lengthBytes),
    `${formatBytes(region.usedBytes)} used`,
    region.mountpoint ?? "",
    `${region.method}${region.reason ? `: ${region.reason}` : ""}`,
  ];
}

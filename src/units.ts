import { DoppelError, EXIT } from "./errors.ts";

const SUFFIXES = ["", "K", "M", "G", "T", "P"];

/** What `parseSize` reads. */
export const SIZE_PATTERN = /^(\d+(?:\.\d+)?)\s*([KMGTPkmgtp]?)(?:[iI]?[bB])?$/;
/** What `parseDuration` reads. */
export const DURATION_PATTERN = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)$/;

/** Reads a size such as `50M`, `2GiB` or `4096` as bytes; suffixes are powers of 1024. */
export function parseSize(text: string): number {
  const match = SIZE_PATTERN.exec(text.trim());
  if (!match) throw usage(`'${text}' is not a size`, "write it like 50M or 2G");
  const exponent = SUFFIXES.indexOf((match[2] ?? "").toUpperCase());
  const bytes = Math.round(Number(match[1]) * 1024 ** exponent);
  if (!Number.isSafeInteger(bytes)) throw usage(`'${text}' is too large a size`, "at most 8P");
  return bytes;
}

/** Reads a duration such as `2s`, `500ms`, `10m` or `1h` as milliseconds. */
export function parseDuration(text: string): number {
  const match = DURATION_PATTERN.exec(text.trim());
  if (!match) throw usage(`'${text}' is not a duration`, "write it like 500ms, 2s, 10m or 7d");
  const factors: Record<string, number> = {
    ms: 1,
    s: 1000,
    m: 60_000,
    h: 3_600_000,
    d: 86_400_000,
    w: 604_800_000,
  };
  return Math.round(Number(match[1]) * (factors[match[2] ?? ""] ?? 0));
}

/** Reads a percentage such as `50%` or `50` as a number from 1 to 100. */
export function parsePercent(text: string): number {
  const match = /^(\d+)\s*%?$/.exec(text.trim());
  const value = match ? Number(match[1]) : 0;
  if (value < 1 || value > 100) throw usage(`'${text}' is not a percentage`, "write it like 50%");
  return value;
}

/** Bytes for people, in binary units: `1.4 GiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const exponent = Math.min(Math.floor(Math.log2(bytes) / 10), SUFFIXES.length - 1);
  const value = bytes / 1024 ** exponent;
  const unit = `${SUFFIXES[exponent]}iB`;
  if (value >= 100) return `${Math.round(value)} ${unit}`;
  // Long lists are full of sizes, and `toFixed` takes three times as long.
  const tenths = Math.round(value * 10);
  return `${Math.trunc(tenths / 10)}.${tenths % 10} ${unit}`;
}

/** Seconds for people: `4.2 s`, `3 min 05 s`, `2 h 07 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

function usage(message: string, hint: string): DoppelError {
  return new DoppelError("usage", message, { hint, exitCode: EXIT.usage });
}

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { DoppelError } from "../errors.ts";
import { packageRoot } from "../package-root.ts";

interface Addon {
  /** native/addon/deflate.c */
  deflateFrames(
    input: Buffer,
    table: Uint32Array,
    level: number,
  ): Promise<{ data: Buffer; lengths: Uint32Array }>;
}

/** The levels of libdeflate and zlib are not the same: this one makes smaller files than qemu-img's (docs/benchmarks.md). */
const LEVEL = 5;

let loaded: Addon | undefined;

/**
 * Frames as zlib streams (RFC 1950), off the main thread. `table`: where each frame starts in `input`, and its bytes.
 * `input` must not change meanwhile. Rejects with the number of a frame that does not hold 65,536 bytes. Throws
 * `addon-missing` when the native part is not built.
 */
export function deflateFrames(
  input: Buffer,
  table: Uint32Array,
): Promise<{ data: Buffer; lengths: Uint32Array }> {
  loaded ??= load();
  return loaded.deflateFrames(input, table, LEVEL);
}

function load(): Addon {
  const file = join(packageRoot(), "native/build/addon/deflate.node");
  if (existsSync(file)) return createRequire(import.meta.url)(file) as Addon;
  throw new DoppelError("addon-missing", "the native addon is not built", {
    hint: "bin/setup build, or make -C native",
  });
}

import assert from "node:assert";
import { CLUSTER_BYTES, RAW_FRAME_BYTES } from "../../image/cluster.ts";
import type { Qcow2Layout } from "./layout.ts";

/** Where in the file a frame's bytes go: its payload alone where it is raw, else all of it. */
export interface FramePlace {
  plain: boolean;
  offsetBytes: number;
}

/** Gives each frame its place: compressed frames close up in one region, raw payloads in the other. In the order of the disk. */
export class FramePlacement {
  readonly #layout: Qcow2Layout;
  /** Where the next frame of either kind goes. */
  compressedAt: number;
  plainAt: number;

  constructor(layout: Qcow2Layout) {
    this.#layout = layout;
    this.compressedAt = layout.compressed.first * CLUSTER_BYTES;
    this.plainAt = layout.plain.first * CLUSTER_BYTES;
  }

  next(lengthBytes: number): FramePlace {
    if (lengthBytes === RAW_FRAME_BYTES) {
      this.plainAt += CLUSTER_BYTES;
      return { plain: true, offsetBytes: this.plainAt - CLUSTER_BYTES };
    }
    this.compressedAt += lengthBytes;
    return { plain: false, offsetBytes: this.compressedAt - lengthBytes };
  }

  /** Both regions must be exactly full in the end. */
  finish(): void {
    const { compressed, plain } = this.#layout;
    assert.strictEqual(this.compressedAt, compressed.first * CLUSTER_BYTES + compressed.bytes);
    assert.strictEqual(this.plainAt, (plain.first + plain.clusters) * CLUSTER_BYTES);
  }
}

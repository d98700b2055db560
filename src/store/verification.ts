import { DoppelError, systemErrorCode } from "../errors.ts";
import { type ImageConfig, MAX_JSON_BLOB_BYTES, parseImageConfig } from "../image/config.ts";
import {
  type Descriptor,
  type Manifest,
  MEDIA_TYPES,
  parseAttachmentManifest,
  parseManifest,
} from "../image/manifest.ts";
import type { BlobSource } from "./blob-source.ts";
import { checkDigest, checkPack, checkPackSample, type Fault, type PackCheck } from "./check-blob.ts";
import { checkDiskMap } from "./check-map.ts";
import { addDamage, type Candidate, type Damage, type Hurt, type HurtImage } from "./damage.ts";
import type { Sample } from "./sample.ts";

export interface Finding extends Fault {
  /** What is wrong, in one sentence. */
  message: string;
  blob: string;
  /** Frame number in the pack, where one frame is at fault. */
  frame?: number;
  /** Every image that has the blob. */
  images: HurtImage[];
  /** The runs of clusters that it hurts, and where they are on whose disks. */
  hurts: Hurt[];
}

export interface VerifyReport {
  images: number;
  blobs: number;
  frames: number;
  bytes: number;
  /** Which frames were looked at, and of how many; null when it was all. */
  sample: (Sample & { frameCount: number }) | null;
  findings: Finding[];
  /** All findings, of which `findings` holds the first hundred. */
  findingCount: number;
}

export interface VerifyOptions {
  /** Look at a share of the frames only. */
  sample?: Sample | undefined;
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
  signal?: AbortSignal | undefined;
}

const MOST_FINDINGS = 100;
const MOST_HURTS = 100;

/** Codes that say what is wrong with a blob; any other failure ends the verification. */
const FAULTS = new Set([
  ...["blob-missing", "blob-truncated", "blob-too-large", "blob-differs", "registry-content"],
  ...["pack-corrupt", "map-corrupt", "config-corrupt", "manifest-corrupt"],
]);

/** Reads every blob of some images, each once, and compares every hash. Does not stop at a difference. */
export class Verification {
  readonly #source: BlobSource;
  readonly #options: VerifyOptions;
  readonly #report: VerifyReport;
  readonly #seen = new Set<string>();
  readonly #bad = new Map<string, Set<number> | undefined>();
  readonly #frameCounts = new Map<string, number>();
  #totalBytes = 0;

  constructor(source: BlobSource, options: VerifyOptions) {
    this.#source = source;
    this.#options = options;
    const sample = options.sample ? { ...options.sample, frameCount: 0 } : null;
    this.#report = { images: 0, blobs: 0, frames: 0, bytes: 0, sample, findings: [], findingCount: 0 };
  }

  /** Bytes that there are to read, for the progress. */
  expect(bytes: number): void {
    this.#totalBytes += bytes;
  }

  /** Verifies an image, but for blobs that were verified before. Returns what could be read of it. */
  async verifyImage(descriptor: Descriptor): Promise<{ manifest?: Manifest; config?: ImageConfig }> {
    this.#report.images++;
    const manifest = await this.#readJson(descriptor, parseManifest);
    if (!manifest) return {};
    const config = await this.#readJson(manifest.config, parseImageConfig);
    for (const layer of manifest.layers) {
      if (!this.#isNew(layer.digest)) continue;
      if (layer.mediaType === MEDIA_TYPES.pack) await this.#verifyPack(layer);
      else await this.#attempt(layer.digest, () => checkDigest(this.#source, layer, this.#check));
    }
    for (const disk of config?.doppel.disks ?? [])
      if (!this.#bad.has(disk.map)) await this.#attempt(disk.map, () => this.#verifyMap(manifest, disk));
    return { manifest, ...(config ? { config } : {}) };
  }

  /** Verifies what is attached to an image. Returns the digests of its blobs. */
  async verifyAttachment(descriptor: Descriptor): Promise<string[]> {
    const manifest = await this.#readJson(descriptor, parseAttachmentManifest);
    const blobs = manifest ? [manifest.config, ...manifest.layers] : [];
    for (const blob of blobs)
      if (this.#isNew(blob.digest))
        await this.#attempt(blob.digest, () => checkDigest(this.#source, blob, this.#check));
    return [descriptor, ...blobs].map(({ digest }) => digest);
  }

  /** The report, with the images that are hurt: `candidates` are all that may have one of the bad blobs. */
  async finish(candidates: AsyncIterable<Candidate> | Iterable<Candidate>): Promise<VerifyReport> {
    if (this.#report.findings.length === 0) return this.#report;
    const damage = new Map<string, Damage>();
    for await (const candidate of candidates) {
      this.#options.signal?.throwIfAborted();
      await addDamage(this.#source, candidate, this.#bad, damage);
    }
    // What no image has any more was removed meanwhile.
    const findings = this.#report.findings.filter(({ blob }) => damage.has(blob));
    if (findings.length === 0) return { ...this.#report, findings, findingCount: 0 };
    for (const finding of findings) {
      const { images = [], hurts = [] } = damage.get(finding.blob) ?? {};
      finding.images = images;
      finding.hurts = hurts
        .filter(({ frame }) => frame === finding.frame)
        .slice(0, MOST_HURTS)
        .map(({ frame: _frame, ...hurt }) => hurt);
    }
    return { ...this.#report, findings };
  }

  /** A manifest or a config, when its bytes are what their digest says and its parser takes them. */
  async #readJson<T>(
    descriptor: Descriptor,
    parse: (bytes: Buffer, name: string) => T,
  ): Promise<T | undefined> {
    this.#isNew(descriptor.digest);
    let parsed: T | undefined;
    await this.#attempt(descriptor.digest, async () => {
      if (descriptor.size > MAX_JSON_BLOB_BYTES)
        return [{ message: `has ${descriptor.size} bytes, more than ${MAX_JSON_BLOB_BYTES}` }];
      const pieces: Buffer[] = [];
      const faults = await checkDigest(keeping(this.#source, pieces), descriptor, this.#check);
      if (faults.length === 0) parsed = parse(Buffer.concat(pieces), descriptor.digest);
      return faults;
    });
    return parsed;
  }

  async #verifyPack(layer: Descriptor): Promise<void> {
    const { sample } = this.#options;
    await this.#attempt(layer.digest, async () => {
      const check: PackCheck = sample
        ? await checkPackSample(this.#source, layer, sample, this.#check)
        : await checkPack(this.#source, layer, this.#check);
      this.#report.frames += check.frames;
      if (this.#report.sample) this.#report.sample.frameCount += check.frameCount;
      if (check.frameCount > 0) this.#frameCounts.set(layer.digest, check.frameCount);
      return check.faults;
    });
  }

  async #verifyMap(manifest: Manifest, disk: ImageConfig["doppel"]["disks"][number]): Promise<Fault[]> {
    const layers = new Map(manifest.layers.map((layer) => [layer.digest, layer]));
    const openBlob = async (digest: string) => {
      const layer = layers.get(digest);
      if (layer) return await this.#source.openBlob(layer);
      throw new DoppelError("map-corrupt", `the map of disk ${disk.name} is no layer of the image`);
    };
    const packs = await checkDiskMap({ openBlob }, manifest, disk, this.#options.signal);
    const other = packs.find(
      ({ digest, frameCount }) => (this.#frameCounts.get(digest) ?? frameCount) !== frameCount,
    );
    if (!other) return [];
    const has = this.#frameCounts.get(other.digest);
    return [{ message: `says that pack ${other.digest} has ${other.frameCount} frames, it has ${has}` }];
  }

  /** Turns a failure into a finding, so that the rest is looked at as well. */
  async #attempt(blob: string, check: () => Promise<Fault[]>): Promise<void> {
    this.#options.signal?.throwIfAborted();
    let faults: Fault[];
    try {
      faults = await check();
    } catch (error) {
      faults = [faultOf(error)];
    }
    for (const fault of faults) this.#find(blob, fault);
  }

  #find(blob: string, fault: Fault): void {
    const { findings } = this.#report;
    this.#report.findingCount++;
    if (findings.length >= MOST_FINDINGS) return;
    findings.push({ ...fault, blob, images: [], hurts: [] });
    const frames = this.#bad.get(blob);
    if (fault.frame === undefined) this.#bad.set(blob, undefined);
    else if (frames) frames.add(fault.frame);
    else if (!this.#bad.has(blob)) this.#bad.set(blob, new Set([fault.frame]));
  }

  #isNew(digest: string): boolean {
    if (this.#seen.has(digest)) return false;
    this.#seen.add(digest);
    this.#report.blobs++;
    return true;
  }

  get #check() {
    return {
      signal: this.#options.signal,
      onBytes: (bytes: number) => {
        this.#report.bytes += bytes;
        const doneBytes = Math.min(this.#report.bytes, this.#totalBytes);
        this.#options.onProgress?.({ doneBytes, totalBytes: this.#totalBytes });
      },
    };
  }
}

/** A source whose blobs are kept in `pieces` while they are read: for small ones. */
function keeping(source: BlobSource, pieces: Buffer[]): BlobSource {
  return {
    openBlob: (descriptor) => source.openBlob(descriptor),
    readAll: (descriptor, begin) =>
      source.readAll(descriptor, () => {
        pieces.length = 0;
        const take = begin();
        return async (piece) => {
          pieces.push(Buffer.from(piece));
          await take(piece);
        };
      }),
  };
}

/** What a failure says about the blob that was read; throws it again when it says nothing about it. */
function faultOf(error: unknown): Fault {
  if (error instanceof DoppelError && FAULTS.has(error.code)) return { message: error.message };
  const code = systemErrorCode(error);
  if (code === "EIO") return { message: "cannot be read from its disk (EIO)" };
  throw error;
}

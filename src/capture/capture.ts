import { AgentSession, type CaptureRequest } from "../agent/session.ts";
import { DoppelError } from "../errors.ts";
import type { Reference } from "../image/reference.ts";
import type { SshConnection } from "../ssh/connection.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { ImageWriter } from "../store/image-writer.ts";
import { dropKeptCapture, findKeptCapture, keepCapture } from "../store/kept-captures.ts";
import { Bases, type Comparison, type Earlier } from "./bases.ts";
import { Copy, type CopyEvents } from "./copy.ts";
import { type CaptureMode, type PreparedCapture, prepareCapture, refuseUnready } from "./prepare.ts";
import { type CopyRecord, sealImage } from "./seal.ts";

export interface CaptureOptions {
  /** Devices to capture; empty: chosen from the machine facts. */
  disks: string[];
  /** An image of the same machine: only what differs from it is sent and stored. */
  parent?: Reference;
  mode: CaptureMode;
  level: number;
  onReadError: "stop" | "zero";
  limitRateBytesPerSecond: number;
  limitCpuPercent: number;
  priority: "low" | "normal";
  /** Keep every writable file system of the disks frozen for the whole copy, at most this long; 0: do not. */
  freezeMs: number;
  signal?: AbortSignal;
}

/** What a capture tells while it runs. */
export interface CaptureEvents extends CopyEvents {
  prepared?: (prepared: PreparedCapture, comparisons: readonly Comparison[]) => void;
  /** An interruption left something that the next capture to the same name goes on from: its bytes. */
  kept?: (bytes: number) => void;
}

export interface CaptureResult {
  image: StoredImage;
  record: CopyRecord;
  storedBytes: number;
}

interface Work {
  session: AgentSession;
  prepared: PreparedCapture;
  bases: Bases;
  writer: ImageWriter;
}

/**
 * Captures a machine's disks into an image: prepare, compare with what is there, copy, seal. Nothing is visible in the store
 * before the image is whole; an interruption leaves what had come, for the next capture to the same name.
 */
export async function captureMachine(
  connection: SshConnection,
  store: ImageStore,
  reference: Reference,
  options: CaptureOptions,
  events: CaptureEvents = {},
): Promise<CaptureResult> {
  await using _name = store.reserveName(reference);
  const startedAt = new Date();
  const earlier = await findEarlier(store, reference, options);
  await using session = await AgentSession.open(connection, {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onWarning: ({ message }) => events.warning?.(message),
  });
  const prepared = await prepareCapture(session, options);
  const warnings: string[] = [];
  const warn = (message: string) => {
    warnings.push(message);
    events.warning?.(message);
  };
  await using bases = await Bases.open(store, prepared, earlier, warn);
  events.prepared?.(prepared, bases.comparisons);
  refuseUnready(prepared);
  const usedBytes = prepared.disks.reduce((sum, disk) => sum + disk.usedBytes, 0);
  await using writer = new ImageWriter(() => store.createBlob(), usedBytes);
  const keep = (maps: readonly { digest: string }[]) =>
    keepCapture(store, reference, bases.keep(maps, earlier.parent));
  const copied = await copyDisks({ session, prepared, bases, writer }, options, events, keep);
  const record = { ...copied, warnings: [...warnings, ...copied.warnings] };
  const written = await writer.finish();
  const changed = await Promise.all(written.maps.map(({ digest }, index) => bases.changed(index, digest)));
  const image = await sealImage(store, reference, {
    prepared,
    record,
    written,
    parent: earlier.parent?.digest ?? null,
    changed,
    level: options.level,
    agentVersion: session.hello.version,
    startedAt,
  });
  dropKeptCapture(store, reference);
  return { image, record, storedBytes: writer.storedBytes };
}

/** What there is to compare with. Throws `image-unknown` for a parent that is not here. */
export async function findEarlier(
  store: ImageStore,
  reference: Reference,
  { parent }: Pick<CaptureOptions, "parent">,
): Promise<Earlier> {
  return {
    parent: parent && (await store.resolve(parent)),
    kept: findKeptCapture(store, reference),
  };
}

async function copyDisks(
  { session, prepared, bases, writer }: Work,
  options: CaptureOptions,
  events: CaptureEvents,
  keep: (maps: readonly { digest: string }[]) => void,
): Promise<CopyRecord> {
  const maps = bases.disks.map((base) => base?.map);
  const copy = new Copy(prepared.disks, writer, maps, events);
  let writing = false;
  try {
    for await (const message of session.capture(requestOf(prepared, options), bases.known())) {
      writing = true;
      await copy.take(message);
      writing = false;
    }
    return copy.record();
  } catch (error) {
    // The source first: nothing there stays frozen for what is done here.
    await session.close();
    if (!writing && isInterruption(error)) await keepWhatCame(writer, events, keep);
    throw error;
  }
}

/** After these nothing is kept: an agent that breaks its protocol, and a disk that fails, are not to be relied on. */
const NOT_KEPT_AFTER = ["agent-protocol", "read-error", "disk-vanished", "copy-failed"];

function isInterruption(error: unknown): boolean {
  return error instanceof DoppelError && !NOT_KEPT_AFTER.includes(error.code);
}

async function keepWhatCame(
  writer: ImageWriter,
  events: CaptureEvents,
  keep: (maps: readonly { digest: string }[]) => void,
): Promise<void> {
  if (writer.storedBytes === 0) return;
  try {
    const { maps } = await writer.finishEarly();
    keep(maps);
    events.kept?.(writer.storedBytes);
  } catch (error) {
    // Why the capture ended is what matters; the next one then starts anew.
    events.warning?.(`what had come could not be kept: ${error instanceof Error ? error.message : error}`);
  }
}

function requestOf(prepared: PreparedCapture, options: CaptureOptions): CaptureRequest {
  const freeze = prepared.freezeMountpoints;
  return {
    disks: prepared.disks.map((disk) => disk.device),
    refreshMetadata: freeze.length === 0 && options.mode !== "fuzzy",
    level: options.level,
    threads: 0,
    limitRateBytesPerSecond: options.limitRateBytesPerSecond,
    limitCpuPercent: options.limitCpuPercent,
    onReadError: options.onReadError,
    priority: options.priority,
    freeze: freeze.length === 0 ? null : { mountpoints: freeze, budgetMilliseconds: options.freezeMs },
    pass: 0,
  };
}

import { DoppelError } from "../../../errors.ts";
import {
  expectSilence,
  type ProcessInfo,
  parseInfo,
  parseMap,
  parsePrepared,
  splitAnswers,
} from "./answers.ts";
import type { RuntimeSocket } from "./runtime-socket.ts";
import type { MapEntry } from "./site-map.ts";

/** A payload must fit HAProxy's buffer (tune.bufsize, 16 KiB by default) with the command. */
const PAYLOAD_BYTES = 8 * 1024;

/** A map as one worker has it at one moment. */
export interface LoadedMap {
  worker: ProcessInfo;
  entries: MapEntry[];
}

/** A version of the map that one worker holds ready. */
export interface PreparedMap {
  worker: ProcessInfo;
  version: number;
}

/** A map in HAProxy's memory, changed as a whole (management guide, 9.3: prepare map, add map, commit map). */
export class RuntimeMap {
  readonly #socket: RuntimeSocket;
  readonly #router: string;
  readonly #name: string;

  constructor(socket: RuntimeSocket, router: string, name: string) {
    this.#socket = socket;
    this.#router = router;
    this.#name = name;
  }

  /** The map, and the worker that has it. */
  async read(signal?: AbortSignal): Promise<LoadedMap> {
    const [worker, map] = await this.#askWorker(`show map ${this.#name}`, signal);
    return { worker, entries: parseMap(this.#router, this.#name, map) };
  }

  /** Gives the worker a new version of the map, which no request sees yet. */
  async prepare(entries: readonly MapEntry[], signal?: AbortSignal): Promise<PreparedMap> {
    const [worker, answer] = await this.#askWorker(`prepare map ${this.#name}`, signal);
    const version = parsePrepared(this.#router, answer);
    for (const payload of payloads(entries)) {
      const added = await this.#socket.ask(`add map @${version} ${this.#name} <<\n${payload}`, signal);
      expectSilence(this.#router, "add map", added);
    }
    const text = await this.#socket.ask(`show map @${version} ${this.#name}`, signal);
    this.#expectEntries(entries, parseMap(this.#router, this.#name, text));
    return { worker, version };
  }

  /**
   * Makes a prepared version the one that every following request sees. False when another worker answers by now:
   * the version went with the one that it was prepared in.
   */
  async commit({ worker, version }: PreparedMap): Promise<boolean> {
    const [answering, answer] = await this.#askWorker(`commit map @${version} ${this.#name}`);
    if (answering.generation !== worker.generation) return false;
    expectSilence(this.#router, "commit map", answer);
    return true;
  }

  /** Forgets a prepared version. */
  async abandon({ version }: PreparedMap): Promise<void> {
    await this.#socket.ask(`clear map @${version} ${this.#name}`);
  }

  /** A command, and in the same connection, so of the same worker, who answers it. */
  async #askWorker(command: string, signal?: AbortSignal): Promise<[ProcessInfo, string]> {
    const [info, answer] = splitAnswers(await this.#socket.ask(`show info; ${command}`, signal));
    return [parseInfo(this.#router, info), answer];
  }

  #expectEntries(wanted: readonly MapEntry[], found: readonly MapEntry[]): void {
    const text = (entries: readonly MapEntry[]) => entries.map(({ key, value }) => `${key} ${value}`).sort();
    if (text(wanted).join("\n") === text(found).join("\n")) return;
    throw new DoppelError(
      "router-answer",
      `${this.#router} holds ${found.length} entries in the prepared map instead of ${wanted.length}`,
      { hint: "something else prepares the same map; let it end and try again" },
    );
  }
}

/** Lines for `add map … <<`, in parts that fit a buffer. */
export function payloads(entries: readonly MapEntry[]): string[] {
  const parts: string[] = [];
  let part = "";
  for (const { key, value } of entries) {
    const line = `${key} ${value}\n`;
    if (part !== "" && Buffer.byteLength(part + line) > PAYLOAD_BYTES) {
      parts.push(part);
      part = "";
    }
    part += line;
  }
  return part === "" ? parts : [...parts, part];
}

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { DoppelError, systemErrorCode } from "../errors.ts";
import { parseJson } from "../parse-json.ts";
import type { Catalog } from "./catalog.ts";
import { imageUsers } from "./leases.ts";

/** Why an image stays although somebody wants it gone. */
export interface Hold {
  kind: "name" | "child" | "machine" | "channel" | "process";
  /** The name, the child's digest, the machine's name, the channel that may go back to it, or `process PID`. */
  by: string;
}

const instanceSchema = z.looseObject({ name: z.string(), imageDigest: z.string() });

/**
 * What keeps images, at one moment: names, children, machines, channels, processes. Looked at inside a write transaction, so that nothing
 * can begin to keep an image between the look and its removal.
 */
export class Holders {
  readonly #catalog: Catalog;
  readonly #machines = new Map<string, string[]>();
  readonly #users: ReturnType<typeof imageUsers>;
  readonly #channels: ReadonlyMap<string, string[]>;
  /** Digests that machines were made from: their cached bases are files under running guests. */
  readonly baseDigests = new Set<string>();

  constructor(catalog: Catalog, home: string) {
    this.#catalog = catalog;
    // Processes first: a thaw that has ended by now has left its machine's file.
    this.#users = imageUsers(catalog.database);
    this.#channels = catalog.channels.pinned();
    for (const { name, imageDigest } of readInstances(home)) {
      this.baseDigests.add(imageDigest);
      const digest = catalog.currentDigest(imageDigest);
      this.#machines.set(digest, [...(this.#machines.get(digest) ?? []), name]);
    }
  }

  /** Machines that run on an image. */
  machinesOf(digest: string): readonly string[] {
    return this.#machines.get(digest) ?? [];
  }

  /** What keeps an image, apart from its names and the children that `goes` says go as well. */
  holdsOf(digest: string, goes: (digest: string) => boolean): Hold[] {
    const children = this.#catalog.childrenOf(digest).filter((child) => !goes(child));
    return [
      ...children.map((by) => ({ kind: "child" as const, by })),
      ...this.machinesOf(digest).map((by) => ({ kind: "machine" as const, by })),
      ...(this.#channels.get(digest) ?? []).map((by) => ({ kind: "channel" as const, by })),
      ...(this.#users.get(digest) ?? []).map(({ pid }) => ({
        kind: "process" as const,
        by: `process ${pid}`,
      })),
    ];
  }

  /** Images that nothing keeps, the children before their parents; `unnamed` have no name, or lose it. */
  unheld(unnamed: readonly string[]): string[] {
    const gone = new Set<string>();
    for (let before = -1; before !== gone.size; ) {
      before = gone.size;
      for (const digest of unnamed)
        if (this.holdsOf(digest, (child) => gone.has(child)).length === 0) gone.add(digest);
    }
    return [...gone];
  }
}

/** Machines made by `doppel thaw`: HOME/instances/NAME/instance.json. One that cannot be read is `instance-corrupt`. */
function readInstances(home: string): z.infer<typeof instanceSchema>[] {
  const folder = join(home, "instances");
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name, "instance.json");
    const text = readOptional(path);
    if (text === undefined) return [];
    const parsed = instanceSchema.safeParse(parseJson(text));
    if (parsed.success) return [parsed.data];
    throw new DoppelError("instance-corrupt", `${path} does not say which image the machine runs on`, {
      hint: "nothing is removed before it does: mend it, or remove the machine with virsh and its folder",
    });
  });
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(systemErrorCode(error) ?? "")) return undefined;
    throw error;
  }
}

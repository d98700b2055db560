import type Database from "better-sqlite3";
import { z } from "zod";
import { DoppelError, EXIT } from "../errors.ts";
import { digestSchema, parseJsonBlob } from "../image/config.ts";
import { formatReference, type Reference } from "../image/reference.ts";

/** What a channel may demand of an image before it moves to it. */
export const CHANNEL_CHECKS = ["verified", "boot-tested", "signed"] as const;

const stepSchema = z.object({
  action: z.enum(["declare", "promote", "undo"]),
  /** What the channel names since then; null for a channel that was declared before it had an image. */
  digest: digestSchema.nullable(),
  /** RFC 3339. */
  at: z.string(),
  by: z.string(),
  /** The image as it was named then. */
  source: z.string(),
});

const channelSchema = z.object({
  name: z.string(),
  tag: z.string(),
  requires: z.array(z.enum(CHANNEL_CHECKS)),
  /** Public keys, PEM; one of them must have signed. */
  keys: z.array(z.string()),
  declared: z.string(),
});

const savedSchema = z.array(z.object({ ...channelSchema.shape, steps: z.array(stepSchema) }));

export type ChannelCheck = (typeof CHANNEL_CHECKS)[number];
export type ChannelStep = z.infer<typeof stepSchema>;
/** A name that moves by promotion only. */
export type Channel = z.infer<typeof channelSchema>;

interface ChannelRow {
  name: string;
  tag: string;
  requires: string;
  keys: string;
  declared: string;
}

/** Of each channel the layout's index keeps so many steps, so that it does not grow for ever. */
const MOST_SAVED_STEPS = 100;

/** The channels of a catalog and what became of them. What changes them runs inside `ImageStore.change`. */
export class Channels {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    this.#database = database;
  }

  list(): Channel[] {
    return this.#database
      .prepare<[], ChannelRow>("SELECT * FROM channels ORDER BY name, tag")
      .all()
      .map(channelOf);
  }

  find({ name, tag }: Reference): Channel | undefined {
    const row = this.#database
      .prepare<[string, string], ChannelRow>("SELECT * FROM channels WHERE name = ? AND tag = ?")
      .get(name, tag);
    return row && channelOf(row);
  }

  /** The channel of that name; `channel-unknown` when it was not declared. */
  require(reference: Reference): Channel {
    const channel = this.find(reference);
    if (channel) return channel;
    throw new DoppelError("channel-unknown", `${formatReference(reference)} is not a channel`, {
      hint: `declare it: doppel images channel ${formatReference(reference)} --require verified,boot-tested`,
    });
  }

  /** Refuses to move or remove a channel by other means than a promotion: `channel-protected`, exit 3. */
  refuse(reference: Reference): void {
    if (!this.find(reference)) return;
    const channel = formatReference({ name: reference.name, tag: reference.tag });
    throw new DoppelError("channel-protected", `${channel} is a channel: it moves only by promotion`, {
      hint: `use another name, then: doppel images promote NAME ${channel}`,
      exitCode: EXIT.refused,
    });
  }

  /** Declares a channel, or changes what it demands. */
  declare({ requires, keys, ...channel }: Channel): void {
    this.#database
      .prepare(
        `INSERT INTO channels (name, tag, requires, keys, declared) VALUES (@name, @tag, @requires, @keys, @declared)
         ON CONFLICT (name, tag) DO UPDATE SET requires = @requires, keys = @keys`,
      )
      .run({ ...channel, requires: JSON.stringify(requires), keys: JSON.stringify(keys) });
  }

  /** Makes a channel a common name again; its history goes. */
  remove({ name, tag }: Reference): void {
    this.#database.prepare("DELETE FROM channels WHERE name = ? AND tag = ?").run(name, tag);
  }

  addStep({ name, tag }: Reference, step: ChannelStep): void {
    this.#database
      .prepare(
        `INSERT INTO channel_steps (name, tag, action, digest, at, by, source)
         VALUES (@name, @tag, @action, @digest, @at, @by, @source)`,
      )
      .run({ name, tag, ...step });
  }

  /** What became of a channel, the oldest step first. */
  steps({ name, tag }: Reference): ChannelStep[] {
    return this.#database
      .prepare<[string, string], ChannelStep>(
        "SELECT action, digest, at, by, source FROM channel_steps WHERE name = ? AND tag = ? ORDER BY number",
      )
      .all(name, tag);
  }

  /** By the image that an undo would go back to, the channels: such an image is kept as if it had a name. */
  pinned(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const channel of this.list()) {
      const previous = previousOf(this.steps(channel));
      if (previous === undefined) continue;
      found.set(previous, [...(found.get(previous) ?? []), formatReference(channel)]);
    }
    return found;
  }

  /** All of it as text, for the layout's index; undefined when there are none. */
  save(): string | undefined {
    const channels = this.list();
    if (channels.length === 0) return undefined;
    return JSON.stringify(
      channels.map((channel) => ({ ...channel, steps: this.steps(channel).slice(-MOST_SAVED_STEPS) })),
    );
  }

  /** Takes up what `save` wrote. */
  restore(saved: string): void {
    const channels = parseJsonBlob(Buffer.from(saved), savedSchema, "index-corrupt", "list of channels");
    for (const { steps, ...channel } of channels) {
      this.declare(channel);
      for (const step of steps) this.addStep(channel, step);
    }
  }
}

/** The image that a channel named before the one that it names now, by its steps. */
export function previousOf(steps: readonly ChannelStep[]): string | undefined {
  const stack: string[] = [];
  for (const { action, digest } of steps) {
    if (action === "undo") stack.pop();
    else if (digest !== null) stack.push(digest);
  }
  return stack.at(-2);
}

function channelOf({ requires, keys, ...row }: ChannelRow): Channel {
  return channelSchema.parse({ ...row, requires: JSON.parse(requires), keys: JSON.parse(keys) });
}

import { hostname, userInfo } from "node:os";
import { DoppelError, EXIT } from "../errors.ts";
import { formatReference, type Reference } from "../image/reference.ts";
import { type Channel, type ChannelCheck, previousOf } from "../store/channels.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";
import { type CheckResult, checkForChannel } from "./channel-checks.ts";
import { requireIntact } from "./intact.ts";
import { revocationsOver } from "./revocation.ts";

export interface Promotion {
  channel: string;
  digest: string;
  /** What the channel named until then. */
  before: string | null;
  checks: CheckResult[];
}

/** The user and machine that a step is recorded with. */
export function whoAmI(): string {
  const { SUDO_USER } = process.env;
  return `${SUDO_USER || userInfo().username}@${hostname()}`;
}

/** Declares that a name moves by promotion only, or changes what is demanded. What it names stays. */
export function declareChannel(
  store: ImageStore,
  reference: Reference,
  { requires, keys }: { requires: ChannelCheck[]; keys: string[] },
): Channel {
  const { name, tag } = reference;
  const at = new Date().toISOString();
  return store.change(() => {
    const { catalog } = store;
    const known = catalog.channels.find(reference);
    const channel = { name, tag, requires, keys, declared: known?.declared ?? at };
    catalog.channels.declare(channel);
    const digest = catalog.digestOf(name, tag) ?? null;
    if (!known)
      catalog.channels.addStep(reference, {
        action: "declare",
        digest,
        at,
        by: whoAmI(),
        source: formatReference(reference),
      });
    return channel;
  });
}

/**
 * Moves a channel to an image that meets all that the channel demands. Throws `channel-checks` (exit 3) with the command for
 * each check that is not met, `image-revoked` for a revoked image. With `dryRun` it tells how the image stands and moves nothing.
 */
export async function promote(
  store: ImageStore,
  image: StoredImage,
  { source, channel, dryRun }: { source: Reference; channel: Reference; dryRun: boolean },
): Promise<Promotion> {
  const declared = store.catalog.channels.require(channel);
  await requireIntact(store, image);
  const checks = await checkForChannel(store, image, declared, formatReference(source));
  const name = formatReference(channel);
  const before = store.catalog.digestOf(channel.name, channel.tag) ?? null;
  const promotion = { channel: name, digest: image.digest, before, checks };
  if (dryRun) return promotion;
  await refuseRevoked(store, image.digest, name);
  refuseUnmet(checks, source, name);
  store.change(() => {
    const { catalog } = store;
    catalog.channels.require(channel);
    if (catalog.digestOf(channel.name, channel.tag) === image.digest) return;
    catalog.setTag(channel.name, channel.tag, image.digest);
    const step = { digest: image.digest, at: new Date().toISOString(), by: whoAmI() };
    catalog.channels.addStep(channel, { action: "promote", ...step, source: formatReference(source) });
  });
  return promotion;
}

/**
 * Moves a channel back to the image that it named before. `channel-undo` (exit 3) when there was none, or it is no longer here;
 * `image-revoked` when it was revoked since.
 */
export async function undoPromotion(store: ImageStore, channel: Reference): Promise<Promotion> {
  store.catalog.channels.require(channel);
  const name = formatReference(channel);
  const previous = previousOf(store.catalog.channels.steps(channel));
  if (previous === undefined || !store.catalog.has(previous)) {
    const why =
      previous === undefined ? "named no other image before" : `named ${previous}, which is no longer here`;
    throw new DoppelError("channel-undo", `${name} cannot go back: it ${why}`, {
      hint: `doppel images promote REF ${name}`,
      exitCode: EXIT.refused,
    });
  }
  await refuseRevoked(store, previous, name);
  const before = store.change(() => {
    const { catalog } = store;
    const current = catalog.digestOf(channel.name, channel.tag) ?? null;
    if (previousOf(catalog.channels.steps(channel)) !== previous) throw moved(name);
    catalog.setTag(channel.name, channel.tag, previous);
    const step = { digest: previous, at: new Date().toISOString(), by: whoAmI(), source: current ?? "" };
    catalog.channels.addStep(channel, { action: "undo", ...step });
    return current;
  });
  return { channel: name, digest: previous, before, checks: [] };
}

function refuseUnmet(checks: readonly CheckResult[], source: Reference, channel: string): void {
  const unmet = checks.filter(({ met }) => !met);
  if (unmet.length === 0) return;
  const what = unmet.map(({ check, what }) => `${check} (${what})`).join(", ");
  throw new DoppelError(
    "channel-checks",
    `${formatReference(source)} may not become ${channel}: not ${what}`,
    {
      hint: unmet.map(({ command }) => command).join("; "),
      exitCode: EXIT.refused,
      details: { checks: [...checks] },
    },
  );
}

async function refuseRevoked(store: ImageStore, digest: string, channel: string): Promise<void> {
  const [revocation] = await revocationsOver(store, digest);
  if (!revocation) return;
  throw new DoppelError(
    "image-revoked",
    `${digest} may not become ${channel}: ${revocation.image} was revoked by ${revocation.by}: ${revocation.why}`,
    { hint: "choose another image", exitCode: EXIT.refused },
  );
}

function moved(channel: string): DoppelError {
  return new DoppelError("channel-undo", `${channel} was moved by somebody else meanwhile`, {
    hint: `doppel images channel ${channel} shows what became of it`,
    exitCode: EXIT.refused,
  });
}

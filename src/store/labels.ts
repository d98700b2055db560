import { DoppelError, EXIT } from "../errors.ts";
import { attach } from "./attachments.ts";
import type { Attachment } from "./catalog.ts";
import type { ImageStore, StoredImage } from "./image-store.ts";

export type Labels = Record<string, string>;

export const LABELS_TYPE = "application/vnd.doppel.labels.v1";

const PREFIX = "org.doppel.label.";
const KEY = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const MOST_VALUE_CHARACTERS = 256;
const MOST_LABELS = 64;

/** Sets a label, or with no value takes it away. */
export interface LabelChange {
  key: string;
  value: string | undefined;
}

/** Parses `key=value` or `key-`; throws `usage`. */
export function parseLabelChange(text: string): LabelChange {
  const equals = text.indexOf("=");
  const removes = equals < 0 && text.endsWith("-");
  const key = equals < 0 ? text.slice(0, -1) : text.slice(0, equals);
  const value = text.slice(equals + 1);
  if ((equals >= 0 || removes) && KEY.test(key)) {
    if (removes) return { key, value: undefined };
    if (value.length <= MOST_VALUE_CHARACTERS && !/\p{C}/u.test(value)) return { key, value };
  }
  throw new DoppelError("usage", `'${text}' is no label`, {
    hint: `write key=value, or key- to take it away: at most 63 letters, digits and . _ / -, at most ${MOST_VALUE_CHARACTERS} characters of value`,
    exitCode: EXIT.usage,
  });
}

/** The labels among what is attached to an image, the newest first: the newest set is the one that holds. */
export function labelsIn(attachments: readonly Attachment[]): Labels {
  const newest = attachments.find(({ artifactType }) => artifactType === LABELS_TYPE);
  const labels = Object.entries(newest?.annotations ?? {}).filter(([name]) => name.startsWith(PREFIX));
  return Object.fromEntries(labels.map(([name, value]) => [name.slice(PREFIX.length), value]));
}

/**
 * Changes the labels of an image and returns all of them. The set is attached to the image, which does not change itself, and
 * travels with it; it stands in place of the set that was there.
 */
export async function changeLabels(
  store: ImageStore,
  image: StoredImage,
  changes: readonly LabelChange[],
): Promise<Labels> {
  const attachments = store.catalog.attachments(image.digest);
  const labels = new Map(Object.entries(labelsIn(attachments)));
  for (const { key, value } of changes) {
    if (value === undefined) labels.delete(key);
    else labels.set(key, value);
  }
  if (labels.size > MOST_LABELS) {
    throw new DoppelError("usage", `${labels.size} labels are more than ${MOST_LABELS}`, {
      hint: "take some away: doppel images label REF key-",
      exitCode: EXIT.usage,
    });
  }
  const before = attachments.filter(({ artifactType }) => artifactType === LABELS_TYPE);
  await attach(store, image, {
    artifactType: LABELS_TYPE,
    created: afterwards(before[0]?.created),
    annotations: Object.fromEntries([...labels].map(([key, value]) => [PREFIX + key, value])),
    files: [],
    replaces: before.map(({ digest }) => digest),
  });
  return Object.fromEntries([...labels].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Now, or a little after a set that another machine's clock dates later: what was set last must be the newest. */
function afterwards(before: string | undefined): string {
  const last = before === undefined ? Number.NaN : Date.parse(before);
  return new Date(Number.isNaN(last) ? Date.now() : Math.max(Date.now(), last + 1)).toISOString();
}

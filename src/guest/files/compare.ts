import { comparePaths, type FileEntry } from "./entry.ts";

export type Aspect = "type" | "content" | "target" | "mode" | "owner";

/** A file that one side has and the other has not, or has otherwise. */
export interface Difference {
  before: FileEntry | undefined;
  after: FileEntry | undefined;
  /** What is known to differ. */
  aspects: Aspect[];
  /** Whether the content differs can only be told by reading it. */
  undecided: boolean;
}

/** Goes through two sorted listings side by side and yields what differs. Memory: one entry of each. */
export async function* compareListings(
  left: AsyncIterable<FileEntry>,
  right: AsyncIterable<FileEntry>,
): AsyncGenerator<Difference, void> {
  const lefts = left[Symbol.asyncIterator]();
  const rights = right[Symbol.asyncIterator]();
  const next = async (entries: AsyncIterator<FileEntry>) => {
    const { done, value } = await entries.next();
    return done ? undefined : (value as FileEntry);
  };
  let before = await next(lefts);
  let after = await next(rights);
  while (before || after) {
    const order = !before ? 1 : !after ? -1 : comparePaths(before, after);
    if (order < 0) yield { before, after: undefined, aspects: [], undecided: false };
    else if (order > 0) yield { before: undefined, after, aspects: [], undecided: false };
    else if (before && after) {
      const difference = compareEntries(before, after);
      if (difference.undecided || difference.aspects.length > 0) yield difference;
    }
    if (order <= 0) before = await next(lefts);
    if (order >= 0) after = await next(rights);
  }
}

/**
 * What differs between a file and what it became. A regular file of the same size whose times differ has to be read; one whose
 * times are the same was not written to.
 */
export function compareEntries(before: FileEntry, after: FileEntry): Difference {
  const aspects: Aspect[] = [];
  if (before.type !== after.type) aspects.push("type");
  if (before.mode !== after.mode) aspects.push("mode");
  if (before.uid !== after.uid || before.gid !== after.gid) aspects.push("owner");
  if (!before.target.equals(after.target)) aspects.push("target");
  const regular = before.type === "f" && after.type === "f";
  if (regular && before.sizeBytes !== after.sizeBytes) aspects.push("content");
  const touched = before.mtime !== after.mtime || before.ctime !== after.ctime;
  const undecided = regular && touched && before.sizeBytes === after.sizeBytes && after.sizeBytes > 0;
  return { before, after, aspects, undecided };
}

import type { Difference } from "../guest/files/compare.ts";
import type { FileEntry } from "../guest/files/entry.ts";

const TYPES: Record<string, string> = { f: "-" };
const TYPE_NAMES: Record<string, string> = {
  f: "file",
  d: "folder",
  l: "link",
  b: "block device",
  c: "character device",
  p: "pipe",
  s: "socket",
};
const MARKS = { added: "+", removed: "-", changed: "~" } as const;

export function changeOf({ before, after }: Difference): keyof typeof MARKS {
  return !before ? "added" : !after ? "removed" : "changed";
}

/** One file on one line: `+ -rw-r--r-- 0:0 120 /etc/motd`, `~ -rw-r--r-- 0:0 44 /etc/hosts  content, mode was -rw-rw-r--`. */
export function differenceText(difference: Difference): string {
  const { before, after } = difference;
  const entry = after ?? before;
  if (!entry) return "";
  const what = before && after ? difference.aspects.map((aspect) => aspectText(aspect, before)) : [];
  const line = `${MARKS[changeOf(difference)]} ${modeText(entry)} ${ownerText(entry)} ${entry.sizeBytes} ${pathText(entry.path)}`;
  const target = entry.type === "l" ? ` -> ${escapeText(entry.target)}` : "";
  return `${line}${target}${what.length > 0 ? `  ${what.join(", ")}` : ""}`;
}

/** The same for programs. `pathBase64` is there when the name is no UTF-8. */
export function differenceJson(difference: Difference): unknown {
  const { before, after, aspects } = difference;
  const path = (after ?? before)?.path ?? Buffer.alloc(0);
  const text = path.toString("utf8");
  return {
    change: changeOf(difference),
    path: `/${text}`,
    ...(Buffer.from(text).equals(path) ? {} : { pathBase64: path.toString("base64") }),
    ...(before && after ? { what: aspects } : {}),
    before: before ? entryJson(before) : null,
    after: after ? entryJson(after) : null,
  };
}

function entryJson({ type, mode, uid, gid, sizeBytes, mtime, target }: FileEntry) {
  return {
    type: TYPE_NAMES[type] ?? type,
    mode: mode.toString(8).padStart(4, "0"),
    uid,
    gid,
    sizeBytes,
    modified: new Date(Number(mtime) * 1000).toISOString(),
    ...(type === "l" ? { target: target.toString("utf8") } : {}),
  };
}

function aspectText(aspect: Difference["aspects"][number], before: FileEntry): string {
  if (aspect === "mode") return `mode was ${modeText(before)}`;
  if (aspect === "owner") return `owner was ${ownerText(before)}`;
  if (aspect === "target") return `led to ${escapeText(before.target)}`;
  if (aspect === "type") return `was a ${TYPE_NAMES[before.type] ?? before.type}`;
  return `content${before.sizeBytes > 0 ? `, size was ${before.sizeBytes}` : ""}`;
}

function ownerText({ uid, gid }: FileEntry): string {
  return `${uid}:${gid}`;
}

/** As ls(1) writes it. */
function modeText({ type, mode }: FileEntry): string {
  const bits = [0o400, 0o200, 0o100, 0o40, 0o20, 0o10, 0o4, 0o2, 0o1];
  const letters = bits.map((bit, index) => (mode & bit ? ("rwx"[index % 3] ?? "") : "-"));
  for (const [bit, at, letter] of [
    [0o4000, 2, "s"],
    [0o2000, 5, "s"],
    [0o1000, 8, "t"],
  ] as const)
    if (mode & bit) letters[at] = letters[at] === "x" ? letter : letter.toUpperCase();
  return `${TYPES[type] ?? type}${letters.join("")}`;
}

function pathText(path: Buffer): string {
  return `/${escapeText(path)}`;
}

/** Names come from a guest: what a terminal would obey, or what would turn the text around, is written as its number. */
function escapeText(bytes: Buffer): string {
  return bytes.toString("utf8").replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a terminal would obey
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\\]/g,
    (character) =>
      character === "\\" ? "\\\\" : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

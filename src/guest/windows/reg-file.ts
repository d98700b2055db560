/** A value of the Windows registry. Strings without line breaks; `dword` below 2^32. */
export type RegValue =
  | { type: "sz" | "expand-sz"; text: string }
  | { type: "multi-sz"; texts: readonly string[] }
  | { type: "dword"; number: number }
  | { type: "binary"; bytes: Buffer };

/** A string value. */
export const sz = (text: string): RegValue => ({ type: "sz", text });
/** A number of 32 bits. */
export const dword = (number: number): RegValue => ({ type: "dword", number });

/** What becomes of one key: values set (the name `@` is the key's own), values or the whole key removed. */
export interface RegEdit {
  /** Below the root of its hive, `\` between the parts. */
  key: string;
  set?: Readonly<Record<string, RegValue>>;
  remove?: readonly string[];
  /** The key and all below it. */
  removeKey?: boolean;
}

const TYPES = { sz: 1, "expand-sz": 2, binary: 3, "multi-sz": 7 } as const;

/**
 * Edits as the text of a .reg file, version 5, for a hive below `prefix`. Every string is written as the bytes that the hive will
 * have (UTF-16LE with its end), so that no encoding is guessed on the way.
 */
export function regFile(prefix: string, edits: readonly RegEdit[]): string {
  const parts = ["Windows Registry Editor Version 5.00\n"];
  const made = new Set<string>();
  for (const { key, set = {}, remove = [], removeKey } of edits) {
    const path = `${prefix}\\${checkedName(key)}`;
    if (removeKey) {
      parts.push(`[-${path}]\n`);
      continue;
    }
    // hivexregedit makes a key only where the one above it is.
    const names = key.split("\\");
    for (let depth = 1; depth < names.length; depth++) {
      const above = names.slice(0, depth).join("\\");
      if (!made.has(above)) parts.push(`[${prefix}\\${above}]\n`);
      made.add(above);
    }
    const lines = [`[${path}]`];
    for (const [name, value] of Object.entries(set)) lines.push(`${valueName(name)}=${encode(value)}`);
    for (const name of remove) lines.push(`${valueName(name)}=-`);
    parts.push(`${lines.join("\n")}\n`);
  }
  return `${parts.join("\n")}\n`;
}

function encode(value: RegValue): string {
  if (value.type === "dword") return `dword:${value.number.toString(16).padStart(8, "0")}`;
  return `hex(${TYPES[value.type].toString(16)}):${hex(bytesOf(value))}`;
}

function bytesOf(value: Exclude<RegValue, { type: "dword" }>): Buffer {
  switch (value.type) {
    case "binary":
      return value.bytes;
    case "multi-sz":
      return Buffer.from(`${value.texts.map((text) => `${text}\0`).join("")}\0`, "utf16le");
    default:
      return Buffer.from(`${value.text}\0`, "utf16le");
  }
}

function hex(bytes: Buffer): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(",");
}

function valueName(name: string): string {
  if (name === "@") return name;
  return `"${checkedName(name).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** A name out of a guest's hive may be anything; what would start another line or key is an error of ours. */
function checkedName(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\]]/.test(name))
    throw new RangeError(`not a name for the registry: ${JSON.stringify(name)}`);
  return name;
}

const TYPE_NAMES: Record<string, "sz" | "expand-sz" | "binary" | "multi-sz"> = {
  "1": "sz",
  "2": "expand-sz",
  "3": "binary",
  "7": "multi-sz",
};

/** Values by name, of keys by path as the file has them. Names are in lower case: the registry takes no notice of it. */
export type RegTree = Map<string, Map<string, RegValue>>;

/** Reads what `hivexregedit --export` prints. Values of other types are kept as bytes. */
export function parseRegFile(text: string): RegTree {
  const tree: RegTree = new Map();
  let values: Map<string, RegValue> | undefined;
  for (const line of text.replace(/\\\r?\n\s*/g, "").split(/\r?\n/)) {
    const key = /^\[(.*)\]$/.exec(line)?.[1];
    if (key !== undefined) {
      values = new Map();
      tree.set(key.replace(/^\\/, "").toLowerCase(), values);
      continue;
    }
    const match = /^(@|"(?:[^"\\]|\\.)*")=(.*)$/.exec(line);
    const value = match && decode(match[2] ?? "");
    if (match && value) values?.set(plainName(match[1] ?? ""), value);
  }
  return tree;
}

function plainName(quoted: string): string {
  return quoted === "@" ? quoted : quoted.slice(1, -1).replace(/\\(.)/g, "$1").toLowerCase();
}

function decode(text: string): RegValue | undefined {
  const dword = /^dword:([0-9a-f]{1,8})$/i.exec(text)?.[1];
  if (dword !== undefined) return { type: "dword", number: Number.parseInt(dword, 16) };
  const quoted = /^(?:str\((\d+)\):)?"((?:[^"\\]|\\.)*)"$/.exec(text);
  if (quoted) {
    const type = quoted[1] === "2" ? "expand-sz" : "sz";
    return { type, text: (quoted[2] ?? "").replace(/\\(.)/g, "$1") };
  }
  const match = /^hex(?:\(([0-9a-f]+)\))?:([0-9a-f,]*)$/i.exec(text);
  if (!match) return undefined;
  const bytes = Buffer.from((match[2] ?? "").replaceAll(",", ""), "hex");
  const type = TYPE_NAMES[match[1] ?? "3"] ?? "binary";
  if (match[1] === "4" && bytes.length === 4) return { type: "dword", number: bytes.readUInt32LE() };
  if (type === "binary") return { type, bytes };
  const strings = bytes.toString("utf16le").replace(/\0+$/, "");
  return type === "multi-sz"
    ? { type, texts: strings === "" ? [] : strings.split("\0") }
    : { type, text: strings };
}

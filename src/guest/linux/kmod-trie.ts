/**
 * The binary indexes of kmod (modules.dep.bin, modules.alias.bin): a radix tree of keys, big-endian. Layout from kmod's
 * libkmod-index.h: a header (magic, version, offset of the root), then nodes, each after its children:
 *
 *   prefix, ended by NUL      if flag 0x8
 *   first, last (a byte each), then an offset for each character between them, 0 where there is no child   if flag 0x2
 *   count, then for each value its priority and its text, ended by NUL                                     if flag 0x4
 *
 * The flags are the top four bits of the offset that points to the node.
 */
const MAGIC = 0xb007f457;
const VERSION = 0x00020001;
const FLAG = { prefix: 0x80000000, values: 0x40000000, children: 0x20000000 } as const;

interface Node {
  values: { priority: number; text: string }[];
  children: Map<number, Node>;
}

/** Encodes keys with their values; the values of a key are kept in the order of their priorities. */
export function encodeKmodIndex(entries: Iterable<{ key: string; value: string; priority: number }>): Buffer {
  const root: Node = { values: [], children: new Map() };
  for (const { key, value, priority } of entries) insert(root, Buffer.from(key, "latin1"), value, priority);
  const parts: Buffer[] = [];
  let length = 12;
  const append = (part: Buffer) => {
    parts.push(part);
    length += part.length;
  };
  /** Writes a node whose path below its parent is `prefix`; returns its offset with its flags. */
  const write = (node: Node, prefix: number[]): number => {
    let at = node;
    const path = [...prefix];
    for (let only = onlyChild(at); only; only = onlyChild(at)) {
      path.push(only.character);
      at = only.node;
    }
    const characters = [...at.children.keys()].sort((a, b) => a - b);
    const offsets = new Map(characters.map((character) => [character, writeChild(at, character)]));
    const start = length;
    let flags = 0;
    if (path.length > 0) {
      flags |= FLAG.prefix;
      append(Buffer.from([...path, 0]));
    }
    const [first] = characters;
    const last = characters.at(-1);
    if (first !== undefined && last !== undefined) {
      flags |= FLAG.children;
      const table = Buffer.alloc(2 + (last - first + 1) * 4);
      table[0] = first;
      table[1] = last;
      for (const [character, offset] of offsets) table.writeUInt32BE(offset, 2 + (character - first) * 4);
      append(table);
    }
    if (at.values.length > 0) {
      flags |= FLAG.values;
      append(u32(at.values.length));
      for (const { priority, text } of at.values.sort((a, b) => a.priority - b.priority))
        append(Buffer.concat([u32(priority), Buffer.from(`${text}\0`, "latin1")]));
    }
    return (start | flags) >>> 0;
  };
  const writeChild = (node: Node, character: number): number => {
    const child = node.children.get(character);
    return child ? write(child, []) : 0;
  };
  const rootOffset = write(root, []);
  return Buffer.concat([u32(MAGIC), u32(VERSION), u32(rootOffset), ...parts]);
}

function insert(root: Node, key: Buffer, text: string, priority: number): void {
  let node = root;
  for (const character of key) {
    let child = node.children.get(character);
    if (!child) {
      child = { values: [], children: new Map() };
      node.children.set(character, child);
    }
    node = child;
  }
  node.values.push({ priority, text });
}

/** The one child of a node without values, which can be a part of the node's prefix. */
function onlyChild(node: Node): { character: number; node: Node } | undefined {
  if (node.values.length > 0 || node.children.size !== 1) return undefined;
  for (const [character, child] of node.children) return { character, node: child };
  return undefined;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { systemErrorCode, wrapError } from "../errors.ts";
import { matchesPatternList } from "./host-pattern.ts";

// The file format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

export interface KnownHostLine {
  file: string;
  /** Counted from 1. */
  line: number;
  marker: "none" | "revoked" | "cert-authority";
  /** Patterns, or one hashed name. */
  names: string[];
  keyType: string;
  /** The key in SSH wire form. */
  key: Buffer;
}

export type HostKeyVerdict =
  | { kind: "known" }
  | { kind: "unknown" }
  | { kind: "revoked"; entry: KnownHostLine }
  /** The host has other keys on record, and the one it showed is none of them. */
  | { kind: "changed"; entry: KnownHostLine };

/** Reads known_hosts files in order; one that does not exist is empty. */
export function readKnownHosts(files: readonly string[]): KnownHostLine[] {
  return files.flatMap((file) => {
    try {
      return parseKnownHosts(readFileSync(file, "utf8"), file);
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return [];
      throw wrapError(error, "known-hosts-unreadable", `the known hosts in ${file} cannot be read`);
    }
  });
}

/** Parses the text of one known_hosts file; lines that are not understood are skipped, as OpenSSH does. */
export function parseKnownHosts(text: string, file: string): KnownHostLine[] {
  return text.split("\n").flatMap((content, index) => {
    const words = content.trim().split(/\s+/);
    const marker = markerOf(words[0] ?? "");
    if (marker !== "none") words.shift();
    const [names, keyType, base64] = words;
    if (!names || names.startsWith("#") || names.startsWith("@") || !keyType || !base64) return [];
    const key = Buffer.from(base64, "base64");
    if (hostKeyType(key) !== keyType) return [];
    return [{ file, line: index + 1, marker, names: names.split(","), keyType, key }];
  });
}

/** The name of a host in known_hosts: `host`, or `[host]:port` when the port is not 22; an alias stands alone. */
export function knownHostName(hostname: string, port: number, alias?: string): string {
  if (alias !== undefined) return alias.toLowerCase();
  return port === 22 ? hostname.toLowerCase() : `[${hostname.toLowerCase()}]:${port}`;
}

/** The lines that speak of a host, by its `knownHostName`. Certificate authorities are not supported: left out. */
export function linesOf(lines: readonly KnownHostLine[], name: string): KnownHostLine[] {
  return lines.filter((line) => line.marker !== "cert-authority" && nameMatches(line.names, name));
}

/** Judges a key that a host showed, given the `linesOf` that host. A revoked key stays revoked whatever else matches. */
export function judgeHostKey(lines: readonly KnownHostLine[], key: Buffer): HostKeyVerdict {
  const same = lines.filter((line) => line.key.equals(key));
  const revoked = same.find((line) => line.marker === "revoked");
  if (revoked) return { kind: "revoked", entry: revoked };
  if (same.length > 0) return { kind: "known" };
  const valid = lines.filter((line) => line.marker === "none");
  // Key types on record are asked for first, so a host that shows another type has lost its old keys.
  const entry = valid.find((line) => line.keyType === hostKeyType(key)) ?? valid[0];
  return entry ? { kind: "changed", entry } : { kind: "unknown" };
}

/** The type of a key in SSH wire form: its first string (RFC 4253, section 6.6). Empty when it has none. */
export function hostKeyType(key: Buffer): string {
  if (key.length < 4) return "";
  const length = key.readUInt32BE(0);
  return length > 64 || 4 + length > key.length ? "" : key.toString("latin1", 4, 4 + length);
}

function markerOf(word: string): KnownHostLine["marker"] {
  if (word === "@revoked") return "revoked";
  return word === "@cert-authority" ? "cert-authority" : "none";
}

function nameMatches(names: string[], name: string): boolean {
  const hashed = names[0]?.startsWith("|") ? names[0] : undefined;
  if (hashed === undefined) {
    return matchesPatternList(
      names.map((pattern) => pattern.toLowerCase()),
      name,
    );
  }
  // |1|base64 salt|base64 HMAC-SHA1 of the name with that salt
  const [, version, salt, hash] = hashed.split("|");
  if (version !== "1" || !salt || !hash) return false;
  return createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest("base64") === hash;
}

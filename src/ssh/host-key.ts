import { createHash } from "node:crypto";
import { DoppelError, EXIT } from "../errors.ts";
import { hostKeyType, judgeHostKey, type KnownHostLine, knownHostName } from "./known-hosts.ts";
import { quoteCommand } from "./quote.ts";
import type { HostSettings } from "./user-config.ts";

/** Host key algorithms in order of preference, each with the key type that it proves (RFC 8332 for RSA). */
const ALGORITHMS = [
  ["ssh-ed25519", "ssh-ed25519"],
  ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"],
  ["ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"],
  ["ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"],
  ["rsa-sha2-512", "ssh-rsa"],
  ["rsa-sha2-256", "ssh-rsa"],
  // Machines of 2011 (OpenSSH 5.3) have nothing else, and they are the ones worth capturing.
  ["ssh-rsa", "ssh-rsa"],
] as const;

export type HostKeyAlgorithm = (typeof ALGORITHMS)[number][0];

/** The algorithms to offer to a host: those of key types on record first, so that it shows a key we can judge. */
export function hostKeyAlgorithms(lines: readonly KnownHostLine[]): HostKeyAlgorithm[] {
  const onRecord = new Set(lines.filter((line) => line.marker === "none").map((line) => line.keyType));
  const known = ALGORITHMS.filter(([, keyType]) => onRecord.has(keyType));
  const others = ALGORITHMS.filter(([, keyType]) => !onRecord.has(keyType));
  return [...known, ...others].map(([algorithm]) => algorithm);
}

/** A key's fingerprint as `ssh-keygen -l` prints it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** Judges the key that a host showed: undefined when it is on record, else the refusal (exit code 3). */
export function refuseHostKey(
  key: Buffer,
  lines: readonly KnownHostLine[],
  host: HostSettings,
): DoppelError | undefined {
  const verdict = judgeHostKey(lines, key);
  if (verdict.kind === "known") return undefined;
  if (verdict.kind === "unknown") return unknownKey(key, host);
  const { file, line, keyType, key: oldKey } = verdict.entry;
  const shown = `${hostKeyType(key)} ${fingerprint(key)}`;
  const where = `${host.hostname} port ${host.port}`;
  if (verdict.kind === "revoked") {
    return new DoppelError(
      "host-key-revoked",
      `${where} shows the key ${shown}, revoked in ${file} line ${line}`,
      {
        hint: "do not connect; ask whoever revoked the key",
        exitCode: EXIT.refused,
      },
    );
  }
  return new DoppelError(
    "host-key-changed",
    `THE KEY OF ${where} HAS CHANGED, perhaps because someone is in between: it shows ${shown}, ` +
      `but ${file} line ${line} has ${keyType} ${fingerprint(oldKey)}`,
    {
      hint: `only if you know why it changed: ${quoteCommand(["ssh-keygen", "-R", nameOf(host), "-f", file])}`,
      exitCode: EXIT.refused,
    },
  );
}

function unknownKey(key: Buffer, host: HostSettings): DoppelError {
  const file = host.knownHostsFiles[0] ?? "~/.ssh/known_hosts";
  const print = fingerprint(key);
  const line = `${nameOf(host)} ${hostKeyType(key)} ${key.toString("base64")}`;
  return new DoppelError(
    "host-key-unknown",
    `the key of ${host.hostname} port ${host.port} is not known: ${hostKeyType(key)} ${print}`,
    {
      // The whole line and not ssh-keyscan: it adds the key whose fingerprint was compared, and works behind jump hosts.
      hint: `if that is the host's fingerprint, add it: ${quoteCommand(["echo", line])} >> ${quoteCommand([file])}`,
      exitCode: EXIT.refused,
      details: { fingerprint: print, knownHostsLine: line, knownHostsFile: file },
    },
  );
}

function nameOf(host: HostSettings): string {
  return knownHostName(host.hostname, host.port, host.hostKeyAlias);
}

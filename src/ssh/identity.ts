import { existsSync, readFileSync } from "node:fs";
import ssh2, { createAgent, type ParsedKey } from "ssh2";
import { DoppelError, wrapError } from "../errors.ts";
import type { Prompt } from "./terminal-prompt.ts";

/** A key pair that can be offered: the server is shown the public half before `sign` is asked for. */
export interface Identity {
  /** For messages. */
  label: string;
  publicKey: ParsedKey;
  /** `hash` is set for RSA keys. Throws DoppelError with the reason why there is no signature. */
  sign(data: Buffer, hash?: string): Promise<Buffer>;
}

const PASSPHRASE_TRIES = 3;

// Not among the names that Node sees in this CommonJS module, so not to be imported by name.
const { parseKey } = ssh2.utils;

/** The keys that a running ssh-agent holds. Throws when `socketPath` does not answer. */
export async function agentIdentities(socketPath: string): Promise<Identity[]> {
  const agent = createAgent(socketPath);
  const keys = await new Promise<unknown[]>((resolve, reject) => {
    agent.getIdentities((error, found) => (error ? reject(error) : resolve(found ?? [])));
  });
  return keys.flatMap((found) => {
    const publicKey = parsePublic(found);
    if (publicKey === undefined) return [];
    const sign = (data: Buffer, hash?: string) =>
      new Promise<Buffer>((resolve, reject) => {
        const options = hash === undefined ? {} : { hash: hash as "sha256" };
        agent.sign(publicKey, data, options, (error, signature) => {
          if (signature === undefined) reject(error ?? new Error("the ssh-agent gave no signature"));
          else resolve(signature);
        });
      });
    return [{ label: `ssh-agent key ${publicKey.comment || publicKey.type}`, publicKey, sign }];
  });
}

/**
 * The key in a file: a passphrase is asked for only when the server wants a signature, where the public half can be
 * read without it. Undefined when the file does not exist. Throws when it cannot be read or holds no private key.
 */
export async function fileIdentity(file: string, prompt: Prompt): Promise<Identity | undefined> {
  if (!existsSync(file)) return undefined;
  const text = readKey(file);
  const key = parsePrivate(text);
  if (key !== undefined) return unlocked(file, key);
  if (!isEncrypted(text)) {
    throw new DoppelError("identity-unreadable", `${file} holds no private key that can be read`, {
      hint: "name the private key, in OpenSSH or PEM format",
    });
  }
  const publicKey = publicHalf(file, text);
  if (publicKey === undefined) return unlocked(file, await unlock(file, text, prompt));
  let opened: Promise<ParsedKey> | undefined;
  return {
    label: `key ${file}`,
    publicKey,
    async sign(data, hash) {
      opened ??= unlock(file, text, prompt);
      return (await opened).sign(data, hash);
    },
  };
}

/** The public half of a key file, from the file itself or from FILE.pub; undefined when neither tells. */
export function publicKeyOfFile(file: string): ParsedKey | undefined {
  if (!existsSync(file)) return undefined;
  const text = readKey(file);
  return parsePrivate(text) ?? publicHalf(file, text);
}

function unlocked(file: string, key: ParsedKey): Identity {
  return { label: `key ${file}`, publicKey: key, sign: async (data, hash) => key.sign(data, hash) };
}

async function unlock(file: string, text: Buffer, prompt: Prompt): Promise<ParsedKey> {
  for (let attempt = 0; attempt < PASSPHRASE_TRIES; attempt += 1) {
    const passphrase = await prompt({ text: `Passphrase for key ${file}: `, hidden: true });
    if (passphrase === undefined) {
      throw new DoppelError(
        "identity-locked",
        `${file} is encrypted and there is no terminal to ask for its passphrase`,
        {
          hint: `add it to an ssh-agent first: ssh-add ${file}`,
        },
      );
    }
    const key = parsePrivate(text, passphrase);
    if (key !== undefined) return key;
  }
  throw new DoppelError("identity-locked", `wrong passphrase for ${file}, ${PASSPHRASE_TRIES} times`);
}

function readKey(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw wrapError(error, "identity-unreadable", `the key ${file} cannot be read`);
  }
}

function parsePrivate(text: Buffer, passphrase?: string): ParsedKey | undefined {
  const parsed: unknown = parseKey(text, passphrase);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  return isParsedKey(key) && key.isPrivateKey() ? key : undefined;
}

function parsePublic(found: unknown): ParsedKey | undefined {
  const bytes = typeof found === "object" && found !== null && "pubKey" in found ? found.pubKey : found;
  if (isParsedKey(bytes)) return bytes;
  const parsed: unknown = Buffer.isBuffer(bytes) || typeof bytes === "string" ? parseKey(bytes) : undefined;
  return isParsedKey(parsed) ? parsed : undefined;
}

function isParsedKey(value: unknown): value is ParsedKey {
  return typeof value === "object" && value !== null && "getPublicSSH" in value && !(value instanceof Error);
}

function isEncrypted(text: Buffer): boolean {
  return openSshKeyCipher(text) !== undefined || text.includes("ENCRYPTED");
}

function publicHalf(file: string, text: Buffer): ParsedKey | undefined {
  if (existsSync(`${file}.pub`)) {
    const key = parsePublic(readKey(`${file}.pub`));
    if (key !== undefined) return key;
  }
  const blob = openSshKeyCipher(text)?.publicKey;
  return blob === undefined ? undefined : parsePublic(blob);
}

/** The clear part of an encrypted key in OpenSSH's own format (PROTOCOL.key): cipher, kdf, options, count, public key. */
function openSshKeyCipher(text: Buffer): { publicKey: Buffer } | undefined {
  const armour = /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END/.exec(
    text.toString("latin1"),
  );
  const body = Buffer.from(armour?.[1] ?? "", "base64");
  const magic = "openssh-key-v1\0";
  if (body.toString("latin1", 0, magic.length) !== magic) return undefined;
  let at = magic.length;
  const readString = (): Buffer | undefined => {
    if (at + 4 > body.length) return undefined;
    const end = at + 4 + body.readUInt32BE(at);
    const value = end <= body.length ? body.subarray(at + 4, end) : undefined;
    at = end;
    return value;
  };
  const [cipher] = [readString(), readString(), readString()];
  at += 4;
  const publicKey = readString();
  return cipher === undefined || cipher.toString() === "none" || publicKey === undefined
    ? undefined
    : { publicKey };
}

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { open, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "../durable-file.ts";
import { DoppelError, EXIT, systemErrorCode, wrapError } from "../errors.ts";
import type { Prompt } from "../ssh/terminal-prompt.ts";

/** A public key that signatures are checked with. */
export interface TrustedKey {
  /** `sha256:` and the hexadecimal digest of the key (DER, SubjectPublicKeyInfo). */
  id: string;
  key: KeyObject;
  /** For messages: its file, or its name in the policy. */
  label: string;
}

export interface KeyPairFiles {
  privateKey: string;
  publicKey: string;
  id: string;
}

const PASSPHRASE_TRIES = 3;
const MOST_KEY_BYTES = 65_536;
/** The curve that every verifier of cosign's signatures must know (cosign, SIGNATURE_SPEC.md, "Signature Schemes"). */
const CURVE = "prime256v1";

/**
 * Makes a key pair: PREFIX.key (PKCS#8 PEM, mode 0600, encrypted where there is a passphrase) and PREFIX.pub. Refuses to
 * replace a file: `file-exists`.
 */
export async function makeKeyPair(prefix: string, passphrase: string | undefined): Promise<KeyPairFiles> {
  const pair = generateKeyPairSync("ec", { namedCurve: CURVE });
  const pem = { type: "pkcs8", format: "pem" } as const;
  const encryption = passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase };
  const files = { privateKey: `${prefix}.key`, publicKey: `${prefix}.pub` };
  await writeNew(files.privateKey, pair.privateKey.export({ ...pem, ...encryption }), 0o600);
  await writeNew(files.publicKey, formatPublicKey(pair.publicKey), 0o644);
  await syncFolder(dirname(prefix));
  return { ...files, id: keyId(pair.publicKey) };
}

/**
 * The private key in a PEM file. A file that others may read is refused (`key-exposed`, exit 3); the passphrase of an
 * encrypted one is asked for (`key-locked` when there is nobody to ask).
 */
export async function readPrivateKey(path: string, prompt: Prompt, signal?: AbortSignal): Promise<KeyObject> {
  const pem = await readKeyFile(path);
  if (((await stat(path)).mode & 0o077) !== 0) {
    throw new DoppelError("key-exposed", `others may read the private key ${path}`, {
      hint: `chmod 600 ${path}`,
      exitCode: EXIT.refused,
    });
  }
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) throw unusable(path, "it holds no private key in PEM");
  const encrypted = /ENCRYPTED/.test(pem);
  return requireCurve(encrypted ? await unlock(path, pem, prompt, signal) : parsePrivate(path, pem), path);
}

/** The public key in a PEM file. */
export async function readPublicKey(path: string): Promise<TrustedKey> {
  return parsePublicKey(await readKeyFile(path), path);
}

/** The public key in a PEM text; a private key is refused, which does not belong where this is read. */
export function parsePublicKey(pem: string, label: string): TrustedKey {
  if (/PRIVATE KEY/.test(pem)) throw unusable(label, "it is a private key, the public one is wanted");
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (cause) {
    throw unusable(label, "it holds no public key in PEM", cause);
  }
  return { id: keyId(key), key: requireCurve(key, label), label };
}

export function formatPublicKey(key: KeyObject): string {
  return key.export({ type: "spki", format: "pem" }).toString();
}

/** Names a key, whether its public or its private half is at hand. */
export function keyId(key: KeyObject): string {
  const half = key.type === "private" ? createPublicKey(key) : key;
  const der = half.export({ type: "spki", format: "der" });
  return `sha256:${createHash("sha256").update(der).digest("hex")}`;
}

async function unlock(path: string, pem: string, prompt: Prompt, signal?: AbortSignal): Promise<KeyObject> {
  for (let attempt = 0; attempt < PASSPHRASE_TRIES; attempt += 1) {
    const passphrase = await prompt({ text: `Passphrase for key ${path}: `, hidden: true }, signal);
    if (passphrase === undefined) {
      throw new DoppelError(
        "key-locked",
        `${path} is encrypted and there is no terminal to ask for its passphrase`,
        {
          hint: "run it on a terminal, or use a key without a passphrase (mode 0600)",
        },
      );
    }
    try {
      return createPrivateKey({ key: pem, passphrase });
    } catch {
      // OpenSSL does not tell a wrong passphrase from a broken file in one way that lasts.
    }
  }
  throw new DoppelError(
    "key-locked",
    `${path} does not open with that passphrase, ${PASSPHRASE_TRIES} times`,
  );
}

function parsePrivate(path: string, pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw unusable(path, "it cannot be read as PEM", cause);
  }
}

function requireCurve(key: KeyObject, label: string): KeyObject {
  if (key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === CURVE) return key;
  throw unusable(label, "it is not an ECDSA key on the curve P-256");
}

async function readKeyFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > MOST_KEY_BYTES) throw unusable(path, `it has ${size} bytes`);
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof DoppelError) throw error;
    throw wrapError(error, "key-invalid", `the key ${path} cannot be read`);
  }
}

async function writeNew(path: string, content: string | Buffer, mode: number): Promise<void> {
  try {
    await using file = await open(path, "wx", mode);
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
    throw new DoppelError("file-exists", `${path} is there already`, {
      hint: "choose another name: a key that is replaced is lost",
      exitCode: EXIT.refused,
    });
  }
}

function unusable(label: string, why: string, cause?: unknown): DoppelError {
  return new DoppelError("key-invalid", `${label} cannot be used as a key: ${why}`, {
    hint: "doppel images keygen makes a pair; so does openssl ecparam -name prime256v1 -genkey",
    exitCode: EXIT.usage,
    ...(cause === undefined ? {} : { cause }),
  });
}

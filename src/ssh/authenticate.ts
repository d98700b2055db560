import {
  type AnyAuthMethod,
  BaseAgent,
  type IdentityCallback,
  type ParsedKey,
  type SignCallback,
} from "ssh2";
import { DoppelError, messageOf } from "../errors.ts";
import { agentIdentities, fileIdentity, type Identity, publicKeyOfFile } from "./identity.ts";
import type { Prompt } from "./terminal-prompt.ts";
import type { HostSettings } from "./user-config.ts";

const PASSWORD_TRIES = 3;

export interface Credentials {
  /** Key files that the user named for this run (`--identity`): tried before all else. */
  identities: string[];
  /** The ssh-agent's socket, where there is one. */
  agentSocket: string | undefined;
  prompt: Prompt;
}

/** What happened so far: written by the attempts, read for the error when all of them failed. */
export interface AuthenticationLog {
  tried: string[];
  /** Methods that the server would still accept. */
  accepted: readonly string[];
}

/**
 * The ways to prove who we are, one after another: named keys, the agent's keys, configured or default keys,
 * questions of the server, the password. `log.accepted` is kept up to date by the caller between attempts.
 */
export async function* authenticationAttempts(
  host: HostSettings,
  credentials: Credentials,
  log: AuthenticationLog,
): AsyncGenerator<AnyAuthMethod, void> {
  const username = host.user;
  yield { type: "none", username };
  for await (const identity of identitiesInOrder(host, credentials, log)) {
    if (!log.accepted.includes("publickey")) break;
    const entry = log.tried.push(identity.label) - 1;
    const agent = new SingleKeyAgent(identity, (reason) => {
      log.tried[entry] = reason;
    });
    yield { type: "agent", username, agent };
  }
  const question = `${username}@${host.name}`;
  for (
    let attempt = 0;
    attempt < PASSWORD_TRIES && log.accepted.includes("keyboard-interactive");
    attempt += 1
  ) {
    const answers = new ServerQuestions(question, credentials.prompt);
    yield { type: "keyboard-interactive", username, prompt: answers.answer };
    log.tried.push(
      answers.nobodyThere ? "questions of the server (no terminal to ask on)" : "questions of the server",
    );
    if (answers.nobodyThere) break;
  }
  for (let attempt = 0; attempt < PASSWORD_TRIES && log.accepted.includes("password"); attempt += 1) {
    const password = await credentials.prompt({ text: `Password of ${question}: `, hidden: true });
    log.tried.push(password === undefined ? "password (no terminal to ask on)" : "password");
    if (password === undefined) break;
    yield { type: "password", username, password };
  }
}

async function* identitiesInOrder(
  host: HostSettings,
  credentials: Credentials,
  log: AuthenticationLog,
): AsyncGenerator<Identity> {
  const offered = new Set<string>();
  const fresh = (key: ParsedKey) => {
    const id = key.getPublicSSH().toString("base64");
    if (offered.has(id)) return false;
    offered.add(id);
    return true;
  };
  const inAgent = await identitiesOfAgent(credentials.agentSocket, log);
  for (const file of credentials.identities) {
    // The agent may hold the same key unlocked: then nobody is asked for its passphrase.
    const publicKey = publicKeyOfFile(file);
    const held = publicKey && inAgent.find((identity) => identity.publicKey.equals(publicKey));
    const identity = held ?? (await fileIdentity(file, credentials.prompt));
    if (identity === undefined) throw missingIdentity(file);
    if (fresh(identity.publicKey)) yield identity;
  }
  const allowed = host.identitiesOnly
    ? await keysOf([...credentials.identities, ...host.identityFiles])
    : undefined;
  for (const identity of inAgent) {
    if (allowed && !allowed.some((key) => key.equals(identity.publicKey))) continue;
    if (fresh(identity.publicKey)) yield identity;
  }
  for (const file of host.identityFiles) {
    const publicKey = publicKeyOfFile(file);
    if (publicKey && offered.has(publicKey.getPublicSSH().toString("base64"))) continue;
    const identity = await usableIdentity(file, credentials.prompt, log);
    if (identity && fresh(identity.publicKey)) yield identity;
  }
}

async function identitiesOfAgent(socket: string | undefined, log: AuthenticationLog): Promise<Identity[]> {
  if (socket === undefined || socket === "") return [];
  try {
    return await agentIdentities(socket);
  } catch (error) {
    log.tried.push(`ssh-agent (${messageOf(error)})`);
    return [];
  }
}

/** A configured key that cannot be used is noted and passed over: another one may do. */
async function usableIdentity(
  file: string,
  prompt: Prompt,
  log: AuthenticationLog,
): Promise<Identity | undefined> {
  try {
    return await fileIdentity(file, prompt);
  } catch (error) {
    log.tried.push(`key ${file} (${messageOf(error)})`);
    return undefined;
  }
}

async function keysOf(files: string[]): Promise<ParsedKey[]> {
  return files.map(publicKeyOfFile).filter((key) => key !== undefined);
}

/** Offers one key the way ssh2 asks an ssh-agent: it signs only what the server has said it accepts. */
class SingleKeyAgent extends BaseAgent<ParsedKey> {
  readonly #identity: Identity;
  readonly #onFailure: (reason: string) => void;

  constructor(identity: Identity, onFailure: (reason: string) => void) {
    super();
    this.#identity = identity;
    this.#onFailure = onFailure;
  }

  override getIdentities(callback: IdentityCallback<ParsedKey>): void {
    callback(null, [this.#identity.publicKey]);
  }

  override sign(_key: ParsedKey, data: Buffer, options: unknown, callback?: unknown): void {
    const done = (typeof options === "function" ? options : callback) as SignCallback;
    const hash =
      typeof options === "object" && options !== null && "hash" in options ? options.hash : undefined;
    this.#identity.sign(data, typeof hash === "string" ? hash : undefined).then(
      (signature) => done(null, signature),
      (error: unknown) => {
        this.#onFailure(`${this.#identity.label} (${messageOf(error)})`);
        done(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }
}

/** Hands the server's questions to the person at the terminal. */
class ServerQuestions {
  nobodyThere = false;
  readonly #who: string;
  readonly #prompt: Prompt;

  constructor(who: string, prompt: Prompt) {
    this.#who = who;
    this.#prompt = prompt;
  }

  readonly answer = (
    _name: string,
    _instructions: string,
    _language: string,
    questions: { prompt: string; echo?: boolean }[],
    finish: (answers: string[]) => void,
  ): void => {
    void this.#ask(questions).then(finish, () => finish([]));
  };

  async #ask(questions: { prompt: string; echo?: boolean }[]): Promise<string[]> {
    const answers: string[] = [];
    for (const { prompt, echo } of questions) {
      const answer = await this.#prompt({ text: `${this.#who}: ${prompt}`, hidden: echo !== true });
      if (answer === undefined) this.nobodyThere = true;
      answers.push(answer ?? "");
    }
    return answers;
  }
}

function missingIdentity(file: string): DoppelError {
  return new DoppelError("ENOENT", `the key ${file} does not exist`, { hint: "check --identity" });
}

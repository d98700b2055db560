import type { Duplex } from "node:stream";
import { Client, type ConnectConfig } from "ssh2";
import { DoppelError, EXIT, wrapError } from "../errors.ts";
import { type AuthenticationLog, authenticationAttempts, type Credentials } from "./authenticate.ts";
import { hostKeyAlgorithms, refuseHostKey } from "./host-key.ts";
import { knownHostName, linesOf, readKnownHosts } from "./known-hosts.ts";
import type { HostSettings } from "./user-config.ts";

/** AES-GCM first: with it one core moves 500 MB/s; the others are for servers that have nothing else. */
const CIPHERS = [
  "aes128-gcm@openssh.com",
  "aes256-gcm@openssh.com",
  "chacha20-poly1305@openssh.com",
  "aes128-ctr",
  "aes192-ctr",
  "aes256-ctr",
] as const;

/** Time without progress after which authentication is given up; the time a person takes to answer is not counted. */
const AUTHENTICATION_STALL_MS = 30_000;

/**
 * Speaks SSH over an open stream up to the point where commands can be run: the host's key is judged by known_hosts,
 * then the user is authenticated.
 *
 * Throws `host-key-unknown`, `host-key-changed` or `host-key-revoked` (exit code 3), `authentication-failed`,
 * `ssh-handshake` when the two sides have no algorithm in common or the other one does not speak SSH.
 */
export async function shakeHands(
  stream: Duplex,
  host: HostSettings,
  credentials: Credentials,
  signal?: AbortSignal,
): Promise<Client> {
  const client = new Client();
  // For good: ssh2 may report an error after the one that ended the attempt, and nobody would be listening.
  client.on("error", () => {});
  try {
    await new Handshake(client, host, credentials, signal).run(stream);
    return client;
  } catch (error) {
    client.destroy();
    stream.destroy();
    throw error;
  }
}

class Handshake {
  readonly #client: Client;
  readonly #host: HostSettings;
  readonly #credentials: Credentials;
  readonly #signal: AbortSignal | undefined;
  readonly #log: AuthenticationLog = { tried: [], accepted: [] };
  #fail: (error: unknown) => void = () => {};
  #timer: NodeJS.Timeout | undefined;

  constructor(client: Client, host: HostSettings, credentials: Credentials, signal?: AbortSignal) {
    this.#signal = signal;
    this.#client = client;
    this.#host = host;
    this.#credentials = {
      ...credentials,
      prompt: async (question) => {
        this.#stopTimer();
        try {
          return await credentials.prompt(question, this.#signal);
        } catch (error) {
          this.#fail(error);
          throw error;
        } finally {
          this.#startTimer(AUTHENTICATION_STALL_MS);
        }
      },
    };
  }

  async run(stream: Duplex): Promise<void> {
    const signal = this.#signal;
    let stop: (() => void) | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#fail = reject;
        stop = () => reject(signal?.reason);
        signal?.throwIfAborted();
        signal?.addEventListener("abort", stop, { once: true });
        this.#client.once("ready", resolve);
        this.#client.on("error", (error) => this.#onError(error));
        this.#client.once("close", () => reject(this.#cut()));
        this.#startTimer(this.#host.connectTimeoutMs);
        this.#client.connect(this.#config(stream));
      });
    } finally {
      this.#stopTimer();
      if (stop) signal?.removeEventListener("abort", stop);
    }
  }

  #config(stream: Duplex): ConnectConfig {
    const host = this.#host;
    const name = knownHostName(host.hostname, host.port, host.hostKeyAlias);
    const known = linesOf(readKnownHosts(host.knownHostsFiles), name);
    const attempts = authenticationAttempts(host, this.#credentials, this.#log);
    return {
      // ssh2 only reads and writes it; its declaration asks for more than that.
      sock: stream,
      username: host.user,
      readyTimeout: 0,
      keepaliveInterval: host.keepaliveIntervalMs,
      keepaliveCountMax: host.keepaliveCountMax,
      algorithms: { cipher: [...CIPHERS], serverHostKey: hostKeyAlgorithms(known) },
      hostVerifier: (key: Buffer): boolean => {
        const refusal = refuseHostKey(key, known, host);
        if (refusal) this.#fail(refusal);
        return refusal === undefined;
      },
      authHandler: (accepted, _partial, next) => {
        this.#startTimer(AUTHENTICATION_STALL_MS);
        // Null before the first answer of the server.
        this.#log.accepted = (accepted as string[] | null) ?? [];
        attempts.next().then(
          (attempt) => (attempt.done ? this.#fail(this.#refused()) : next(attempt.value)),
          (error: unknown) => this.#fail(error),
        );
      },
    };
  }

  #onError(error: Error & { level?: string }): void {
    // The ssh-agent (or a locked key) gave no signature: ssh2 goes on with the next attempt.
    if (error.level === "agent") return;
    if (this.#log.tried.length > 0) this.#fail(this.#refused(error));
    else this.#fail(wrapError(error, "ssh-handshake", `no SSH session with ${this.#where()}`));
  }

  #refused(cause?: Error): DoppelError {
    const tried = this.#log.tried.length > 0 ? this.#log.tried.join(", ") : "nothing, for there is no key";
    const accepted = this.#log.accepted.join(", ") || "nothing else";
    const why = cause === undefined ? "" : ` (${cause.message})`;
    return new DoppelError(
      "authentication-failed",
      `${this.#host.user}@${this.#host.name} refused us${why}; tried: ${tried}; the server accepts: ${accepted}`,
      {
        hint: `make sure that 'ssh ${this.#host.user}@${this.#host.name}' works, or name a key with --identity`,
        exitCode: EXIT.failed,
        ...(cause === undefined ? {} : { cause }),
      },
    );
  }

  #cut(): DoppelError {
    if (this.#log.tried.length > 0) return this.#refused(new Error("the server closed the connection"));
    return new DoppelError(
      "ssh-handshake",
      `${this.#where()} closed the connection before the SSH session began`,
    );
  }

  #startTimer(milliseconds: number): void {
    this.#stopTimer();
    this.#timer = setTimeout(() => {
      const what = `${this.#where()} answers, but made no progress with SSH for ${milliseconds / 1000} s`;
      this.#fail(new DoppelError("host-unreachable", what, { hint: "check that sshd is healthy there" }));
    }, milliseconds);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
  }

  #where(): string {
    return `${this.#host.hostname} port ${this.#host.port}`;
  }
}

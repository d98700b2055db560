import { createHash } from "node:crypto";
import type { Agent } from "undici";
import { DoppelError } from "../errors.ts";
import { MAX_JSON_BLOB_BYTES } from "../image/config.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { Authorisation } from "./authorisation.ts";
import { connectionsTo, isLoopback } from "./endpoint.ts";
import {
  discard,
  failureOf,
  type HttpRequest,
  type HttpResponse,
  headerOf,
  readBody,
  resolveLocation,
  send,
} from "./http.ts";
import { PATIENCE, Passing, type Patience, withRetries } from "./retry.ts";

export interface RepositoryOptions {
  /** `host[:port]` of the registry. */
  registry: string;
  /** The repository's name there. */
  name: string;
  /** What is going to be done: a token is asked for accordingly. */
  access: "pull" | "push";
  /** Talk plain HTTP to a registry that is not on this machine. */
  plainHttp?: boolean;
  patience?: Patience;
  signal?: AbortSignal | undefined;
}

export interface RemoteManifest {
  bytes: Buffer;
  digest: string;
  mediaType: string;
}

type Ask = Omit<HttpRequest, "url" | "signal"> & { path: string | URL };

/** One repository of an OCI registry (OCI distribution specification 1.1). */
export class Repository implements AsyncDisposable {
  readonly registry: string;
  readonly name: string;
  readonly patience: Patience;
  readonly signal: AbortSignal | undefined;
  readonly #agent: Agent;
  readonly #base: URL;
  readonly #authorisation: Authorisation;
  readonly #scope: string;

  private constructor(options: RepositoryOptions, agent: Agent, base: URL) {
    this.registry = options.registry;
    this.name = options.name;
    this.patience = options.patience ?? PATIENCE;
    this.signal = options.signal;
    this.#agent = agent;
    this.#base = base;
    this.#authorisation = new Authorisation(agent, options.registry, base.protocol === "http:");
    this.#scope = `repository:${options.name}:${options.access === "push" ? "pull,push" : "pull"}`;
  }

  /** Finds out how the registry is spoken to: HTTPS, and plain HTTP only where that is allowed. */
  static async open(options: RepositoryOptions): Promise<Repository> {
    const { registry, plainHttp = false } = options;
    const agent = await connectionsTo(registry);
    const open = (scheme: string) => new Repository(options, agent, new URL(`${scheme}://${registry}/v2/`));
    const repository = open(plainHttp && !isLoopback(registry) ? "http" : "https");
    try {
      await repository.#ping();
      return repository;
    } catch (error) {
      const noTls =
        error instanceof DoppelError && error.code === "registry-certificate" && error.cause instanceof Error;
      const plainAnswer =
        noTls && /^(?:EPROTO|ERR_SSL)/.test((error.cause as NodeJS.ErrnoException).code ?? "");
      if (plainAnswer && isLoopback(registry)) {
        const plain = open("http");
        await plain.#ping();
        return plain;
      }
      await agent.destroy();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  /** Sends a request with what authorises it; answers a 401 once. The caller judges any other status. */
  async ask({ path, ...request }: Ask): Promise<HttpResponse> {
    const url = new URL(path, new URL(`${this.name}/`, this.#base));
    const own = url.origin === this.#base.origin;
    for (let asked = 1; ; asked++) {
      const authorization = own ? this.#authorisation.headerFor(this.#scope) : undefined;
      const headers = { ...request.headers, ...(authorization ? { authorization } : {}) };
      const response = await send(this.#agent, { ...request, url, headers, signal: this.signal });
      if (response.status !== 401 || !own || asked > 1) return response;
      await this.#authorisation.answer(response, this.#scope, this.signal);
      await discard(response);
      // A body that was a stream is used up: its sender starts again.
      if (request.body !== undefined && !Buffer.isBuffer(request.body))
        throw new Passing(new DoppelError("registry-unauthorized", `${this.registry} wants a new login`), 0);
    }
  }

  /** Asks until an expected status comes; other answers become errors, passing ones after some attempts. */
  async expect(ask: Ask, statuses: readonly number[], doing: string): Promise<HttpResponse> {
    return await this.retrying(async () => {
      const response = await this.ask(ask);
      if (statuses.includes(response.status)) return response;
      throw await failureOf(response, doing);
    });
  }

  retrying<T>(attempt: () => Promise<T>, progressed?: () => boolean): Promise<T> {
    return withRetries(attempt, {
      patience: this.patience,
      signal: this.signal,
      ...(progressed ? { progressed } : {}),
    });
  }

  /** The size in bytes of a blob that is there, else undefined. */
  async blobSize(digest: string): Promise<number | undefined> {
    const response = await this.expect(
      { method: "HEAD", path: `blobs/${digest}` },
      [200, 404],
      `looking for ${digest}`,
    );
    await discard(response);
    return response.status === 200 ? Number(headerOf(response, "content-length")) : undefined;
  }

  /** Reads a manifest by tag or digest; undefined when there is none. Its digest is checked when one was asked for. */
  async manifest(reference: string): Promise<RemoteManifest | undefined> {
    const what = `the manifest ${this.name}:${reference}`;
    return await this.retrying(async () => {
      const headers = { accept: `${MEDIA_TYPES.manifest}, ${MEDIA_TYPES.index}` };
      const response = await this.ask({ method: "GET", path: `manifests/${reference}`, headers });
      if (response.status === 404) {
        await discard(response);
        return undefined;
      }
      if (response.status !== 200) throw await failureOf(response, `reading ${what}`);
      const bytes = await readBody(response, MAX_JSON_BLOB_BYTES);
      const digest = digestOf(bytes);
      if (reference.startsWith("sha256:") && digest !== reference)
        throw new Passing(wrongContent(what, this.registry, reference, digest));
      return { bytes, digest, mediaType: headerOf(response, "content-type") ?? "" };
    });
  }

  /** Puts a manifest under a tag or its digest; true when the registry took note of its subject. */
  async putManifest(reference: string, bytes: Buffer, mediaType: string): Promise<{ knowsSubject: boolean }> {
    const headers = { "content-type": mediaType };
    const ask: Ask = { method: "PUT", path: `manifests/${reference}`, headers, body: bytes };
    const response = await this.expect(ask, [201, 202], `writing the manifest ${this.name}:${reference}`);
    await discard(response);
    return { knowsSubject: headerOf(response, "oci-subject") !== undefined };
  }

  /** Makes a blob of another repository of the registry known here; false when the registry cannot. */
  async mountBlob(digest: string, from: string): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, from });
    const ask: Ask = { method: "POST", path: `blobs/uploads/?${query}`, headers: { "content-length": "0" } };
    const response = await this.expect(ask, [201, 202, 401, 403, 404], `mounting ${digest}`);
    await discard(response);
    const location = headerOf(response, "location");
    if (response.status === 202 && location !== undefined)
      await this.#abandon(resolveLocation(location, response.url));
    return response.status === 201;
  }

  async #abandon(upload: URL): Promise<void> {
    await discard(await this.ask({ method: "DELETE", path: upload }));
  }

  /** Not as patient as a transfer: who mistypes a port should not wait for it. */
  async #ping(): Promise<void> {
    const patience = { ...this.patience, attempts: Math.min(this.patience.attempts, 2) };
    await withRetries(
      async () => {
        const response = await this.ask({ method: "GET", path: this.#base });
        if (response.status !== 200) throw await failureOf(response, `asking ${this.registry}`);
        await discard(response);
      },
      { patience, signal: this.signal },
    );
  }
}

/** `sha256:` and the hexadecimal digest of some bytes. */
export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export function wrongContent(what: string, registry: string, wanted: string, found: string): DoppelError {
  return new DoppelError(
    "registry-content",
    `${what} from ${registry} is not what it should be: ${found}, not ${wanted}`,
    {
      hint: "something between here and the registry changes what it sends, or the registry's storage is damaged",
    },
  );
}

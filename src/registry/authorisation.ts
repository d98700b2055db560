import type { Agent } from "undici";
import { z } from "zod";
import { DoppelError } from "../errors.ts";
import { parseJson } from "../parse-json.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { type Credentials, findCredentials } from "./credentials.ts";
import { isLoopback } from "./endpoint.ts";
import { failureOf, type HttpResponse, headerOf, readBody, send } from "./http.ts";

const MOST_TOKEN_BYTES = 1024 * 1024;
/** A token is asked for again this long before it ends. */
const MARGIN_MS = 10_000;
/** What a token lasts when its server does not say (Docker token specification). */
const DEFAULT_LIFE_S = 60;

const tokenSchema = z.looseObject({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().positive().optional(),
});

/** The Authorization headers for one registry: asked for when it challenges, kept while they last. */
export class Authorisation {
  readonly #agent: Agent;
  readonly #host: string;
  readonly #plainHttp: boolean;
  readonly #kept = new Map<string, { header: string; untilMs: number }>();
  #credentials: Promise<Credentials | undefined> | undefined;

  constructor(agent: Agent, host: string, plainHttp: boolean) {
    this.#agent = agent;
    this.#host = host;
    this.#plainHttp = plainHttp;
  }

  /** The header for a scope such as `repository:site/web1:pull,push`, when one is known. */
  headerFor(scope: string): string | undefined {
    const kept = this.#kept.get(scope);
    return kept && kept.untilMs > Date.now() ? kept.header : undefined;
  }

  /** Answers the challenge of a 401; `registry-unauthorized` when there is nothing to answer with. */
  async answer(response: HttpResponse, scope: string, signal: AbortSignal | undefined): Promise<void> {
    const challenges = parseChallenges(headerOf(response, "www-authenticate") ?? "");
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    const basic = challenges.find(({ scheme }) => scheme === "basic");
    this.#credentials ??= findCredentials(this.#host);
    const credentials = await this.#credentials;
    if (bearer) this.#kept.set(scope, await this.#fetchToken(bearer, scope, credentials, signal));
    else if (basic && credentials && "username" in credentials)
      this.#kept.set(scope, { header: basicHeader(credentials), untilMs: Number.POSITIVE_INFINITY });
    else throw await failureOf(response, `logging in to ${this.#host}`);
  }

  /** Docker's token protocol: GET with basic authentication, or POST with an identity token (OAuth 2). */
  async #fetchToken(
    { parameters }: Challenge,
    scope: string,
    credentials: Credentials | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ header: string; untilMs: number }> {
    const realm = this.#realm(parameters.realm ?? "");
    // Our own scope: the registry names only what this one request needs.
    const fields = new URLSearchParams({ service: parameters.service ?? "", scope });
    const response =
      credentials && "identityToken" in credentials
        ? await this.#postIdentityToken(realm, fields, credentials.identityToken, signal)
        : await this.#getToken(realm, fields, credentials, signal);
    if (response.status !== 200) throw await failureOf(response, `logging in to ${this.#host}`);
    const parsed = tokenSchema.safeParse(
      parseJson((await readBody(response, MOST_TOKEN_BYTES)).toString("utf8")),
    );
    const token = parsed.data?.token ?? parsed.data?.access_token;
    if (!token || !/^[\x21-\x7e]+$/.test(token))
      throw new DoppelError("registry-answer", `${realm.host} answers without a token for ${this.#host}`);
    const lifeMs = (parsed.data?.expires_in ?? DEFAULT_LIFE_S) * 1000;
    return { header: `Bearer ${token}`, untilMs: Date.now() + Math.max(lifeMs - MARGIN_MS, lifeMs / 2) };
  }

  async #getToken(
    realm: URL,
    fields: URLSearchParams,
    credentials: Credentials | undefined,
    signal: AbortSignal | undefined,
  ): Promise<HttpResponse> {
    const url = new URL(realm);
    for (const [name, value] of fields) url.searchParams.append(name, value);
    const headers =
      credentials && "username" in credentials ? { authorization: basicHeader(credentials) } : {};
    return await send(this.#agent, { method: "GET", url, headers, signal });
  }

  async #postIdentityToken(
    realm: URL,
    fields: URLSearchParams,
    token: string,
    signal: AbortSignal | undefined,
  ): Promise<HttpResponse> {
    fields.append("grant_type", "refresh_token");
    fields.append("client_id", "doppel");
    fields.append("refresh_token", token);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return await send(this.#agent, {
      method: "POST",
      url: realm,
      headers,
      body: Buffer.from(`${fields}`),
      signal,
    });
  }

  /** Credentials go to the token server that the registry names: never in the clear, unless the registry itself is. */
  #realm(text: string): URL {
    const realm = URL.canParse(text) ? new URL(text) : undefined;
    if (realm?.protocol === "https:") return realm;
    if (realm?.protocol === "http:" && (this.#plainHttp || isLoopback(realm.host))) return realm;
    throw new DoppelError("registry-answer", `${this.#host} names a token server that is not allowed`, {
      hint: "its address must begin with https://",
    });
  }
}

function basicHeader({ username, password }: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

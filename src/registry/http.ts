import type { Readable } from "node:stream";
import { type Agent, request } from "undici";
import { z } from "zod";
import { DoppelError, systemErrorCode } from "../errors.ts";
import { parseJson } from "../parse-json.ts";
import { Passing } from "./retry.ts";

export interface HttpRequest {
  method: "GET" | "HEAD" | "POST" | "PATCH" | "PUT" | "DELETE";
  url: URL;
  headers?: Record<string, string>;
  body?: Buffer | Readable;
  signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** Must be read to its end or destroyed. */
  body: Readable;
  /** What was asked in the end, past redirections. */
  url: URL;
}

const REDIRECTIONS = new Set([301, 302, 303, 307, 308]);
const MOST_REDIRECTIONS = 5;
/** An error's explanation is read no further. */
const MOST_ERROR_BYTES = 65_536;
/** What comes in while the last piece is being written is given on in one piece, up to about this size. */
const RECEIVE_BYTES = 1024 * 1024;

/**
 * Sends one request and follows redirections of GET and HEAD. Credentials stay with the origin that they are for, and
 * a redirection from HTTPS to HTTP is refused. What a cut or silent network causes is thrown as `Passing`.
 */
export async function send(agent: Agent, asked: HttpRequest): Promise<HttpResponse> {
  let { url } = asked;
  for (let redirections = 0; ; redirections++) {
    const response = await sendOnce(agent, { ...asked, url, headers: headersFor(asked, url) });
    const location = headerOf(response, "location");
    const follows = asked.method === "GET" || asked.method === "HEAD";
    if (!follows || !REDIRECTIONS.has(response.status) || location === undefined) return response;
    await discard(response);
    if (redirections === MOST_REDIRECTIONS)
      throw new DoppelError("registry-answer", `${asked.url.host} redirects without an end`);
    url = resolveLocation(location, url);
  }
}

async function sendOnce(
  agent: Agent,
  { method, url, headers, body, signal }: HttpRequest,
): Promise<HttpResponse> {
  try {
    const answer = await request(url, {
      dispatcher: agent,
      highWaterMark: RECEIVE_BYTES,
      method,
      headers: { "user-agent": "doppel", ...headers },
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    });
    return { status: answer.statusCode, headers: answer.headers, body: answer.body, url };
  } catch (error) {
    signal?.throwIfAborted();
    // What is wrong with the body that is sent is no fault of the network.
    throw error instanceof DoppelError ? error : networkFailure(error, url);
  }
}

function headersFor({ headers = {}, url: origin }: HttpRequest, url: URL): Record<string, string> {
  if (url.origin === origin.origin) return headers;
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== "authorization"));
}

/** A Location header as a URL; refuses to leave HTTPS. */
export function resolveLocation(location: string, base: URL): URL {
  const url = URL.canParse(location, base.href) ? new URL(location, base) : undefined;
  const allowed =
    url && (url.protocol === "https:" || (url.protocol === "http:" && base.protocol === "http:"));
  if (allowed && url.username === "" && url.password === "") return url;
  throw new DoppelError("registry-answer", `${base.host} sends on to an address that is not allowed`, {
    hint: base.protocol === "https:" ? "it must stay with HTTPS" : "it must be a plain HTTP or HTTPS address",
  });
}

/** The value of a header that occurs once. */
export function headerOf(response: Pick<HttpResponse, "headers">, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** Reads a body that should be short; `registry-answer` past `mostBytes`. */
export async function readBody(response: HttpResponse, mostBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of response.body as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > mostBytes) {
        throw new DoppelError(
          "registry-answer",
          `${response.url.host} answers with more than ${mostBytes} bytes where less is expected`,
        );
      }
      pieces.push(piece);
    }
  } catch (error) {
    throw error instanceof DoppelError ? error : networkFailure(error, response.url);
  }
  return Buffer.concat(pieces);
}

/** Lets go of an answer whose body is not wanted. */
export async function discard(response: HttpResponse): Promise<void> {
  response.body.on("error", () => {});
  response.body.destroy();
}

const errorsSchema = z.looseObject({
  errors: z.array(z.looseObject({ code: z.string(), message: z.string().optional() })),
});

const PASSING_STATUS = new Set([408, 429, 500, 502, 503, 504]);

/** The failure that an unexpected answer means, with the registry's own words; `Passing` where it may pass. */
export async function failureOf(response: HttpResponse, doing: string): Promise<DoppelError | Passing> {
  const words = await explanationOf(response);
  const { host } = response.url;
  const failure = new DoppelError(
    codeOf(response.status),
    `${doing}: ${host} answers ${response.status}${words}`,
    {
      ...hintOf(response.status, host),
      details: { status: response.status, host },
    },
  );
  if (!PASSING_STATUS.has(response.status)) return failure;
  return new Passing(failure, retryAfterMs(headerOf(response, "retry-after")));
}

function codeOf(status: number): string {
  if (status === 401) return "registry-unauthorized";
  if (status === 403) return "registry-denied";
  if (status === 404) return "registry-unknown";
  return "registry-failed";
}

function hintOf(status: number, host: string): { hint?: string } {
  if (status === 401) return { hint: `log in: skopeo login ${host}` };
  if (status === 403) return { hint: "your account there may not do this" };
  if (status === 404) return { hint: "check the name and the tag" };
  return {};
}

/** The registry's own errors (OCI distribution specification, "Error Codes"), shortened, without control characters. */
async function explanationOf(response: HttpResponse): Promise<string> {
  const body = await readBody(response, MOST_ERROR_BYTES).catch(() => Buffer.alloc(0));
  const parsed = errorsSchema.safeParse(parseJson(body.toString("utf8")));
  if (!parsed.success) return "";
  const words = parsed.data.errors
    .map(({ code, message }) => (message ? `${code}, ${message}` : code))
    .join("; ");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they come from outside and would reach a terminal
  return ` (${words.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ").slice(0, 300)})`;
}

function retryAfterMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(ms, 0) : undefined;
}

/** A broken connection is worth another attempt; a certificate that is not trusted is not. */
export function networkFailure(error: unknown, url: URL): Error {
  const cause = error instanceof Error ? error : new Error(String(error));
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code)) {
    return new DoppelError(
      "registry-certificate",
      `the certificate of ${url.host} is not trusted: ${cause.message}`,
      {
        hint: `put its authority into ~/.config/containers/certs.d/${url.host}/ca.crt`,
        cause,
      },
    );
  }
  if (/^(?:EPROTO|ERR_SSL)/.test(code)) {
    return new DoppelError("registry-certificate", `${url.host} does not speak HTTPS: ${cause.message}`, {
      hint: "if it has no encryption and that is what you want: --plain-http",
      cause,
    });
  }
  const known = systemErrorCode(cause) ?? "registry-unreachable";
  const failure = new DoppelError(known, `the connection to ${url.host} fails: ${cause.message || code}`, {
    cause,
  });
  // A name that does not exist will not exist in a second.
  return known === "ENOTFOUND" ? failure : new Passing(failure);
}

import { request } from "node:http";
import type { Duplex } from "node:stream";
import { connect as tlsConnect } from "node:tls";
import type { Dial } from "./dial.ts";
import type { Outcome } from "./outcome.ts";

export interface HttpRequest {
  url: URL;
  /** Where to connect, whatever the URL says. */
  connect: { host: string; port: number };
  headers?: Record<string, string>;
  /** Certificates to trust besides the system's. */
  ca?: readonly string[];
}

export interface HttpAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

const MOST_BODY_BYTES = 1024 * 1024;

/** Asks once over a connection of its own; the answer's body is cut after 1 MiB. */
export async function ask(dial: Dial, wanted: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const { url, connect } = wanted;
  const plain = await dial(connect.host, connect.port, signal);
  const stream = url.protocol === "https:" ? secure(plain, url.hostname, wanted.ca) : plain;
  try {
    return await exchange(stream, wanted, signal);
  } finally {
    stream.destroy();
    plain.destroy();
  }
}

/** An HTTP check's verdict on an answer. */
export function judgeAnswer(
  answer: HttpAnswer,
  check: { status: number; contains?: string },
): Omit<Outcome, "latencyMs"> {
  if (answer.status !== check.status)
    return { passed: false, message: `status ${answer.status} instead of ${check.status}` };
  if (check.contains !== undefined && !answer.body.includes(check.contains))
    return { passed: false, message: `status ${answer.status}, but the body lacks '${check.contains}'` };
  return { passed: true, message: `status ${answer.status}, ${answer.body.length} bytes` };
}

function secure(plain: Duplex, servername: string, ca: readonly string[] | undefined): Duplex {
  return tlsConnect({ socket: plain, servername, ...(ca ? { ca: [...ca] } : {}) });
}

function exchange(
  stream: Duplex,
  { url, headers = {} }: HttpRequest,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    stream.once("error", reject);
    const sent = request(
      {
        method: "GET",
        path: url.pathname + url.search,
        headers: { host: url.host, connection: "close", "user-agent": "doppel", ...headers },
        createConnection: () => stream as never,
        signal,
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        const finish = () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          });
        response.on("data", (chunk: Buffer) => {
          chunks.push(chunk);
          bytes += chunk.length;
          if (bytes > MOST_BODY_BYTES) finish();
        });
        response.on("end", finish).on("error", reject);
        response.on("aborted", () => reject(new Error("the connection ended within the answer")));
      },
    );
    sent.on("error", reject);
    sent.end();
  });
}

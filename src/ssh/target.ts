import { DoppelError, EXIT } from "../errors.ts";

/** What the user wrote: `[user@]host[:port]`, where host may be a Host alias of the ssh config. */
export interface Target {
  host: string;
  user?: string;
  port?: number;
}

/** Reads a TARGET; an IPv6 address with a port stands in brackets. Throws `usage` for anything else. */
export function parseTarget(text: string): Target {
  const at = text.lastIndexOf("@");
  const user = at < 0 ? undefined : text.slice(0, at);
  const { host, port } = splitHostPort(text, text.slice(at + 1));
  for (const word of user === undefined ? [host] : [user, host]) checkWord(text, word);
  return { host, ...(user === undefined ? {} : { user }), ...(port === undefined ? {} : { port }) };
}

/** The target as the user could have written it. */
export function formatTarget({ user, host, port }: Target): string {
  const name = host.includes(":") && port !== undefined ? `[${host}]` : host;
  return `${user === undefined ? "" : `${user}@`}${name}${port === undefined ? "" : `:${port}`}`;
}

/** A port from text. Throws `usage` unless it is from 1 to 65535. */
export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) {
    throw new DoppelError("usage", `'${text}' is not a port`, {
      hint: "from 1 to 65535",
      exitCode: EXIT.usage,
    });
  }
  return port;
}

function splitHostPort(text: string, rest: string): { host: string; port?: number } {
  const bracketed = /^\[([^[\]]*)\](?::(.*))?$/s.exec(rest);
  if (bracketed) return withPort(bracketed[1] ?? "", bracketed[2]);
  if (rest.includes("[") || rest.includes("]")) throw notATarget(text);
  // Two colons or more without brackets: an IPv6 address, which then has no port.
  if (rest.split(":").length > 2) return { host: rest };
  const [host = "", port] = rest.split(":");
  return withPort(host, port);
}

function withPort(host: string, port: string | undefined): { host: string; port?: number } {
  return port === undefined ? { host } : { host, port: parsePort(port) };
}

// A word that starts with '-' could be taken as an option by programs that are handed it.
function checkWord(text: string, word: string): void {
  if (word === "" || word.startsWith("-") || /[\s\p{Cc}/\\'"`$;&|<>()]/u.test(word)) throw notATarget(text);
}

function notATarget(text: string): DoppelError {
  return new DoppelError("usage", `${JSON.stringify(text)} is not a target`, {
    hint: "write it as [user@]host[:port], or as a Host alias of your ssh config",
    exitCode: EXIT.usage,
  });
}

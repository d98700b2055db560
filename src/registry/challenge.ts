/** One challenge of a WWW-Authenticate header; scheme and parameter names in lower case. */
export interface Challenge {
  scheme: string;
  parameters: Record<string, string>;
}

const MOST_CHARACTERS = 16_384;
const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const PARAMETER = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/y;
const SEPARATOR = /[ \t,]*/y;

/**
 * Parses a WWW-Authenticate header (RFC 9110, section 11.6.1), of which a server may send several in one line. What is
 * not understood ends the reading: the challenges before it count.
 */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, MOST_CHARACTERS);
  const found: Challenge[] = [];
  let at = skip(text, 0);
  while (at < text.length) {
    const parameter = matchAt(PARAMETER, text, at);
    const current = found.at(-1);
    if (parameter && current) {
      const [whole, name = "", quoted, plain] = parameter;
      current.parameters[name.toLowerCase()] = quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "";
      at = skip(text, at + whole.length);
      continue;
    }
    const scheme = matchAt(TOKEN, text, at);
    if (!scheme) break;
    found.push({ scheme: scheme[0].toLowerCase(), parameters: Object.create(null) });
    at = skip(text, at + scheme[0].length);
  }
  return found;
}

function skip(text: string, at: number): number {
  return at + (matchAt(SEPARATOR, text, at)?.[0].length ?? 0);
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

import { DoppelError, EXIT } from "../errors.ts";
import { parseDuration } from "../units.ts";
import { namePattern } from "./name-pattern.ts";

/** What a filter looks at. */
export interface Filterable {
  name: string;
  tag: string;
  host: string;
  os: string;
  grade: string;
  digest: string;
  parent: string | null;
  /** RFC 3339. */
  created: string;
  boots: string | null;
  labels: Record<string, string>;
  revoked: boolean;
}

type Test = (image: Filterable, now: Date) => boolean;

/** Fields that are compared as words; without regard to case, `*` stands for any characters. */
const WORDS: Record<string, (image: Filterable) => string> = {
  name: ({ name }) => name,
  tag: ({ tag }) => tag,
  host: ({ host }) => host,
  grade: ({ grade }) => grade,
  digest: ({ digest }) => digest,
  parent: ({ parent }) => parent ?? "",
  boots: ({ boots }) => boots?.split(",")[0] ?? "untested",
  revoked: ({ revoked }) => (revoked ? "yes" : "no"),
};

const FIELDS = [...Object.keys(WORDS), "os", "label.KEY", "captured"];
const LABEL = "label.";

/**
 * Parses filters: `host=db1`, `os=debian` (a word of the system's name), `tag!=latest`, `name=web*`, `captured>7d` (longer
 * ago), `captured<12h`, `boots=yes|no|untested`, `label.team=web` (`label.team=*`: has any), `revoked=yes|no`. An image must meet all of them. Throws `usage`.
 */
export function parseFilters(texts: readonly string[]): Test {
  const tests = texts.map(parseFilter);
  return (image, now) => tests.every((test) => test(image, now));
}

function parseFilter(text: string): Test {
  const [, field = "", operator = "", value = ""] =
    /^([a-z]+|label\.[A-Za-z0-9._/-]+?)(!=|=|<|>)(.+)$/s.exec(text) ?? [];
  if (field === "captured" && (operator === "<" || operator === ">")) return testAge(operator, value);
  const equal = operator === "=" || operator === "!=" ? testWord(field, value) : undefined;
  if (equal) return operator === "=" ? equal : (image, now) => !equal(image, now);
  throw new DoppelError("usage", `'${text}' is not a filter`, {
    hint: `write it like host=db1, tag!=latest or captured>7d; there is ${FIELDS.join(", ")}`,
    exitCode: EXIT.usage,
  });
}

function testAge(operator: "<" | ">", value: string): Test {
  const ageMs = parseDuration(value);
  return ({ created }, now) => {
    const age = now.getTime() - Date.parse(created);
    return operator === "<" ? age < ageMs : age > ageMs;
  };
}

function testWord(field: string, value: string): Test | undefined {
  // "debian" is meant by who writes it, not "Debian GNU/Linux 12 (bookworm)".
  if (field === "os") return ({ os }) => os.toLowerCase().includes(value.toLowerCase());
  if (field.startsWith(LABEL)) {
    const matches = namePattern(value);
    const key = field.slice(LABEL.length);
    return ({ labels }) => Object.hasOwn(labels, key) && matches(labels[key] ?? "");
  }
  const read = Object.hasOwn(WORDS, field) ? WORDS[field] : undefined;
  if (!read) return undefined;
  const matches = namePattern(value);
  return (image) => matches(read(image));
}

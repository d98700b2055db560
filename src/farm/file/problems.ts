import type { z } from "zod";
import { allowedKeys } from "./json-schema.ts";
import type { PlacedYaml, YamlProblem } from "./positions.ts";
import { suggest } from "./suggest.ts";

type Issue = z.core.$ZodIssue;

/** What the schema finds, each with its line and column, and the word that was perhaps meant. In the file's order. */
export function placedProblems(issues: readonly Issue[], yaml: PlacedYaml): YamlProblem[] {
  return issues
    .flatMap((issue) => problemsOf(issue, yaml))
    .sort((a, b) => a.line - b.line || a.column - b.column);
}

function problemsOf(issue: Issue, yaml: PlacedYaml): YamlProblem[] {
  const where = issue.path.map(String).join(".");
  const inside = where === "" ? "" : `${where}: `;
  if (issue.code === "unrecognized_keys") {
    const known = allowedKeys(issue.path, yaml.value);
    return issue.keys.map((key) => ({
      message: `${inside}there is no key ${key} here${meant(key, known)}`,
      ...yaml.placeOfKey(issue.path, key),
    }));
  }
  return [
    { message: `${inside}${messageOf(issue, valueAt(yaml.value, issue.path))}`, ...yaml.place(issue.path) },
  ];
}

function messageOf(issue: Issue, value: unknown): string {
  if (issue.code === "invalid_type" && value === undefined) return "is missing";
  // A message of the schema's own says more than ours.
  if (issue.code === "invalid_type" && issue.message.startsWith("Invalid input"))
    return `must be ${article(issue.expected)}, not ${shown(value)}`;
  if (issue.code === "invalid_value") return oneOf(value, issue.values.map(String));
  if (issue.code === "invalid_union" && issue.inclusive !== false && issue.discriminator !== undefined)
    return oneOf(value, (issue.options ?? []).map(String));
  if (issue.code === "too_small" && issue.origin === "array") return `needs at least ${issue.minimum}`;
  if (issue.code === "custom") {
    const known = (issue.params?.known ?? []) as string[];
    return issue.message + meant(String(value), known);
  }
  return issue.message;
}

function oneOf(value: unknown, known: readonly string[]): string {
  const list = known.join(", ");
  if (value === undefined) return `is missing: one of ${list}`;
  return `must be ${known.length === 1 ? "" : "one of "}${list}, not ${shown(value)}${meant(String(value), known)}`;
}

function meant(word: string, known: readonly string[]): string {
  const suggestion = suggest(word, known);
  return suggestion === undefined ? "" : `; did you mean ${suggestion}?`;
}

/** A value for a message: what could be a secret is not shown, only what it is. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (value === null) return "nothing";
  if (typeof value === "object") return "a mapping";
  return typeof value === "string" ? `'${value.slice(0, 40)}'` : String(value);
}

function article(type: string): string {
  const names: Record<string, string> = {
    object: "a mapping",
    array: "a list",
    record: "a mapping",
    int: "a whole number",
  };
  return names[type] ?? `a ${type}`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const step of path)
    at = typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[step] : undefined;
  return at;
}

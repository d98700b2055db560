import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import SSHConfig, { LineType } from "ssh-config";
import { DoppelError, wrapError } from "../errors.ts";
import { matchesPattern, matchesPatternList } from "./host-pattern.ts";

/** The facts that Host and Match lines test. */
export interface MatchContext {
  /** The host as the user wrote it. */
  originalHost: string;
  user?: string;
  localUser: string;
  home: string;
}

type Lines = InstanceType<typeof SSHConfig>;
type Line = Lines[number];
type Directive = Extract<Line, { type: LineType.DIRECTIVE }>;
type Values = Map<string, string[]>;

/** Options that gather values over the whole configuration; of all others the first value counts. */
const REPEATED = new Set(["identityfile"]);
const DEEPEST_INCLUDE = 16;

/**
 * Evaluates a configuration file (ssh_config(5)) into option values by lower-case option name; options that are set
 * in `values` already win. A file that is not there says nothing. Throws `ssh-config-invalid`.
 *
 * Match understands all, host, originalhost, user and localuser. Any other criterion (exec, canonical, final,
 * tagged, …) does not match: nothing is run because of a configuration file.
 */
export function applyConfigFile(file: string, context: MatchContext, values: Values): void {
  applyFile(file, context, values, 0);
}

function applyFile(file: string, context: MatchContext, values: Values, depth: number): void {
  if (!existsSync(file)) return;
  if (depth > DEEPEST_INCLUDE) throw invalid(file, "Include goes deeper than 16 files");
  applyLines(parseFile(file), file, context, values, depth);
}

function parseFile(file: string): Lines {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw wrapError(error, "ssh-config-invalid", `the ssh config ${file} cannot be read`);
  }
  try {
    return SSHConfig.parse(text);
  } catch (cause) {
    // The parser trips over an option without a value with an error of its own workings.
    const why =
      cause instanceof Error && !(cause instanceof TypeError) ? cause.message : "an option has no value";
    throw invalid(file, why, cause);
  }
}

function applyLines(lines: Lines, file: string, context: MatchContext, values: Values, depth: number): void {
  for (const line of lines) {
    if (line.type !== LineType.DIRECTIVE) continue;
    if ("config" in line) {
      if (sectionMatches(line, context, values)) applyLines(line.config, file, context, values, depth);
    } else if (line.param.toLowerCase() === "include") {
      for (const included of includedFiles(wordsOf(line), file, context.home)) {
        applyFile(included, context, values, depth + 1);
      }
    } else setValue(values, line);
  }
}

function setValue(values: Values, line: Directive): void {
  const name = line.param.toLowerCase();
  const known = values.get(name);
  if (known === undefined) values.set(name, wordsOf(line));
  else if (REPEATED.has(name)) known.push(...wordsOf(line));
}

function wordsOf(line: Directive): string[] {
  return Array.isArray(line.value) ? line.value.map(({ val }) => val) : [line.value];
}

function sectionMatches(section: Directive, context: MatchContext, values: Values): boolean {
  if (section.param.toLowerCase() === "host")
    return matchesPatternList(wordsOf(section), context.originalHost);
  if (!("criteria" in section)) return false;
  const facts: Record<string, string | undefined> = {
    originalhost: context.originalHost,
    host: values.get("hostname")?.[0] ?? context.originalHost,
    user: context.user ?? values.get("user")?.[0] ?? context.localUser,
    localuser: context.localUser,
  };
  return Object.entries(section.criteria).every(([name, criterion]) => {
    if (name.toLowerCase() === "all") return true;
    const fact = facts[name.toLowerCase()];
    if (fact === undefined || typeof criterion !== "string") return false;
    return matchesPatternList(criterion.split(","), fact);
  });
}

/** Relative names belong to ~/.ssh for a user's file and to /etc/ssh for the system's; `*` works in the last part. */
function includedFiles(words: string[], includingFile: string, home: string): string[] {
  const base = includingFile.startsWith("/etc/ssh/") ? "/etc/ssh" : dirname(includingFile);
  return words.flatMap((word) => {
    const expanded = word.startsWith("~/") ? join(home, word.slice(2)) : word;
    const path = isAbsolute(expanded) ? expanded : join(base, expanded);
    const folder = dirname(path);
    const pattern = path.slice(folder.length + 1);
    if (!/[*?]/.test(pattern)) return [path];
    if (!existsSync(folder)) return [];
    const names = readdirSync(folder).filter(
      (name) => !name.startsWith(".") && matchesPattern(pattern, name),
    );
    return names.sort().map((name) => join(folder, name));
  });
}

function invalid(file: string, why: string, cause?: unknown): DoppelError {
  return new DoppelError("ssh-config-invalid", `the ssh config ${file} cannot be understood: ${why}`, {
    hint: `check it with: ssh -F ${file} -G HOST`,
    ...(cause === undefined ? {} : { cause }),
  });
}

import { DoppelError } from "../../../errors.ts";
import { refused } from "../failure.ts";
import type { MapEntry } from "./site-map.ts";

export interface ProcessInfo {
  pid: number;
  version: string;
  /** Changes when the worker does. */
  generation: string;
}

/** A row of `show stat`: column name to text. */
export type StatRow = ReadonlyMap<string, string>;

/** Reads `show info`. Refuses a version whose lookups are not safe while a map is prepared (`router-too-old`). */
export function parseInfo(router: string, text: string): ProcessInfo {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) values.set(line.slice(0, colon), line.slice(colon + 2));
  }
  const pid = Number(values.get("Pid"));
  const version = values.get("Version");
  if (values.get("Name") === undefined || version === undefined || !(pid > 0)) {
    throw new DoppelError("router-answer", `${router}: what answers on the socket is no HAProxy worker`, {
      hint: "name the socket of a line 'stats socket', not the master's",
    });
  }
  checkVersion(router, version);
  if (Number(values.get("Nbproc") ?? 1) > 1) {
    throw refused(
      router,
      "router-many-processes",
      `HAProxy has ${values.get("Nbproc")} processes, each with a map of its own`,
      "remove 'nbproc' from its configuration; threads do the same",
    );
  }
  return { pid, version, generation: `${pid}-${values.get("Start_time_sec") ?? ""}` };
}

/**
 * `prepare map` came with 2.4. Until August 2022 a lookup beside a prepared version could return another key's value
 * (HAProxy issue 1802); these are the first releases of each branch without that.
 */
const FIRST_SAFE: Readonly<Record<string, number>> = { "2.4": 19, "2.5": 9, "2.6": 3 };

function checkVersion(router: string, version: string): void {
  const [, major = "", minor = "", patch = ""] = /^(\d+)\.(\d+)(?:[.-](?:dev)?(\d+))?/.exec(version) ?? [];
  const branch = `${major}.${minor}`;
  const safe = FIRST_SAFE[branch];
  const newer = Number(major) > 2 || (Number(major) === 2 && Number(minor) > 6);
  if (newer || (safe !== undefined && Number(patch) >= safe)) return;
  throw refused(
    router,
    "router-too-old",
    `HAProxy ${version} cannot swap a map safely`,
    "2.4.19, 2.5.9, 2.6.3 and everything after them can",
  );
}

/** The number of the version that `prepare map` made. */
export function parsePrepared(router: string, text: string): number {
  const version = /^New version created: (\d+)\s*$/.exec(text)?.[1];
  if (version === undefined) throw unexpected(router, "prepare map", text);
  return Number(version);
}

/** Reads `show map NAME`: `0xADDRESS KEY VALUE` a line. Refuses a map that is not loaded (`router-map-missing`). */
export function parseMap(router: string, name: string, text: string): MapEntry[] {
  if (text.startsWith("Unknown map")) {
    throw refused(
      router,
      "router-map-missing",
      `the map ${name} is not loaded`,
      "name the map as haproxy.cfg does; docs/routers.md has the lines that it must have",
    );
  }
  const entries: MapEntry[] = [];
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, key, value] = /^0x[0-9a-f]+ (\S+) ?(.*)$/.exec(line) ?? [];
    if (key === undefined || value === undefined) throw unexpected(router, "show map", line);
    entries.push({ key, value });
  }
  return entries;
}

/** Reads the CSV of `show stat`; its values have no commas but in quotes, in columns that nobody asks for. */
export function parseStat(router: string, text: string): StatRow[] {
  const [header = "", ...lines] = text.trim().split("\n");
  if (!header.startsWith("# pxname,")) throw unexpected(router, "show stat", header);
  const columns = header.slice(2).split(",");
  return lines.map((line) => {
    const values = line.split(",");
    return new Map(columns.map((column, at) => [column, values[at] ?? ""]));
  });
}

/** Splits the answer to `a; b`: each command's output ends with an empty line. */
export function splitAnswers(text: string): [string, string] {
  const end = text.indexOf("\n\n");
  return end < 0 ? [text, ""] : [text.slice(0, end + 1), text.slice(end + 2)];
}

/** Throws unless a command that prints nothing on success printed nothing. */
export function expectSilence(router: string, command: string, text: string): void {
  if (text.trim() !== "") throw unexpected(router, command, text);
}

function unexpected(router: string, command: string, text: string): DoppelError {
  const answer = text.trim().slice(0, 200);
  if (answer.startsWith("Permission denied")) {
    return refused(
      router,
      "router-not-admin",
      "the socket does not allow changes",
      "write 'level admin' on its line 'stats socket'",
    );
  }
  return new DoppelError("router-answer", `${router}: '${command}' was answered with '${answer}'`);
}

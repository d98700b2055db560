import type { Answerer, Routing, Side, Site } from "../routing.ts";

/** A line of a HAProxy map. */
export interface MapEntry {
  key: string;
  value: string;
}

/** The names of the two backends. */
export type Backends = Readonly<Record<Side, string>>;

/** The key of the canary, whose value is `PERCENT:BACKEND`. A slash is in no host name. */
const canaryKey = (site: Site) => `canary/${site.live}`;

/** What the entries say about the site. HAProxy uses the first of several lines with one key. */
export function routingOf(entries: readonly MapEntry[], site: Site, backends: Backends): Routing {
  const value = (key: string) => entries.find((entry) => entry.key === key)?.value;
  const answerer = (backend: string | undefined): Answerer => {
    if (backend === undefined) return "none";
    if (backend === backends.old) return "old";
    return backend === backends.new ? "new" : `other:${backend}`;
  };
  const [percent = "0"] = (value(canaryKey(site)) ?? "0:").split(":");
  return {
    live: answerer(value(site.live)),
    shadow: answerer(value(site.shadow)),
    canaryPercent: Number.parseInt(percent, 10) || 0,
  };
}

/** The site's own entries; `none` and `other` have no place in a routing that is wanted. */
export function entriesOf(routing: Routing, site: Site, backends: Backends): MapEntry[] {
  const backend = (answerer: Answerer) => {
    if (answerer !== "old" && answerer !== "new") throw new RangeError(`nothing can lead to ${answerer}`);
    return backends[answerer];
  };
  const entries = [
    { key: site.live, value: backend(routing.live) },
    { key: site.shadow, value: backend(routing.shadow) },
  ];
  if (routing.canaryPercent === 0) return entries;
  return [...entries, { key: canaryKey(site), value: `${routing.canaryPercent}:${backends.new}` }];
}

/** The map with the site's entries replaced; those of other sites stay as they are. */
export function withRouting(
  entries: readonly MapEntry[],
  routing: Routing,
  site: Site,
  backends: Backends,
): MapEntry[] {
  const own = ownKeys(site);
  return [...entriesOf(routing, site, backends), ...entries.filter(({ key }) => !own.has(key))];
}

/** Reads a map file: comments and empty lines aside, a key, white space, and the rest of the line (`map_str`). */
export function parseMapFile(text: string): MapEntry[] {
  return text.split("\n").flatMap((line) => entryOfLine(line) ?? []);
}

/** The file with the site's lines replaced where the first of them stood; all other lines, comments too, stay. */
export function editMapFile(text: string, routing: Routing, site: Site, backends: Backends): string {
  const own = ownKeys(site);
  const added = entriesOf(routing, site, backends).map(({ key, value }) => `${key} ${value}`);
  const lines = text === "" ? [] : text.replace(/\n$/, "").split("\n");
  const isOwn = (line: string) => own.has(entryOfLine(line)?.key ?? "");
  const first = lines.findIndex(isOwn);
  const before = first < 0 ? lines : lines.slice(0, first);
  const after = first < 0 ? [] : lines.slice(first).filter((line) => !isOwn(line));
  return `${[...before, ...added, ...after].join("\n")}\n`;
}

function ownKeys(site: Site): ReadonlySet<string> {
  return new Set([site.live, site.shadow, canaryKey(site)]);
}

function entryOfLine(line: string): MapEntry | undefined {
  const [, key, value] = /^\s*([^\s#]\S*)\s+(.*?)\s*$/.exec(line) ?? [];
  return key === undefined || value === undefined ? undefined : { key, value };
}

import { entryHash, type JournalEntry, NO_ENTRY, parseEntry } from "./entry.ts";

export interface StoredEntry {
  sequence: number;
  body: string;
  hash: string;
}

/** Where a journal contradicts itself. */
export interface ChainFinding {
  sequence: number;
  message: string;
}

export interface ChainReport {
  farm: string;
  entries: number;
  /** The hash of the newest entry; kept elsewhere it proves later that nothing before it was changed. */
  head: string;
  findings: ChainFinding[];
}

/**
 * Follows the chain of hashes from the first entry to the newest. `farm` has what the catalog says of the whole: entries
 * that were cut off the end are missed there. `known`: a head that was kept elsewhere and must be in the chain.
 */
export function verifyChain(
  farm: { name: string; entries: number; head: string },
  stored: readonly StoredEntry[],
  known?: string,
): ChainReport {
  const findings: ChainFinding[] = [];
  let previous = NO_ENTRY;
  for (const [index, { sequence, body, hash }] of stored.entries()) {
    const expected = index + 1;
    const find = (message: string) => findings.push({ sequence: expected, message });
    if (sequence !== expected) find(`entry ${expected} is missing, ${sequence} follows`);
    if (entryHash(body) !== hash) find("its text is not what its hash says");
    const entry = readable(body, hash);
    if (!entry) find("it cannot be read");
    else if (entry.previous !== previous) find("it does not follow the entry before it");
    else if (entry.sequence !== sequence || entry.farm !== farm.name) find("it belongs somewhere else");
    previous = hash;
    if (sequence !== expected) break;
  }
  if (stored.length < farm.entries)
    findings.push({
      sequence: stored.length + 1,
      message: `there were ${farm.entries} entries, ${stored.length} are left`,
    });
  else if (previous !== farm.head)
    findings.push({ sequence: stored.length, message: "it is not the newest entry" });
  if (known !== undefined && known !== NO_ENTRY && !stored.some(({ hash }) => hash === known))
    findings.push({ sequence: 0, message: `the chain does not contain ${known}` });
  return { farm: farm.name, entries: stored.length, head: previous, findings };
}

function readable(body: string, hash: string): JournalEntry | undefined {
  try {
    return parseEntry(body, hash);
  } catch {
    return undefined;
  }
}

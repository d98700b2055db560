import type Database from "better-sqlite3";
import { DoppelError, EXIT } from "../../errors.ts";
import { toldWhenFull } from "../../store/full-disk.ts";
import { type ChainReport, type StoredEntry, verifyChain } from "./chain.ts";
import { entryBody, entryHash, type JournalEntry, type JournalEvent, NO_ENTRY, parseEntry } from "./entry.ts";

interface FarmRow {
  name: string;
  entries: number;
  head: string;
  fencing: number;
  owner: string | null;
  pid: number | null;
  process_start: string | null;
  acquired: string | null;
  expires_ms: number | null;
}

/** Who may write now, and until when. */
export interface LeaseHolder {
  owner: string;
  acquired: string;
  expiresMs: number;
  pid: number;
  processStart: string;
  fencing: number;
}

/** The journal of one farm in the catalog. Reading needs no lease. */
export class Journal {
  readonly farm: string;
  readonly #database: Database.Database;
  /** What was read of it: an entry is never changed, so that only new ones are read again. */
  readonly #entries: JournalEntry[] = [];

  constructor(database: Database.Database, farm: string) {
    this.#database = database;
    this.farm = farm;
  }

  /** The file that it is in. */
  get path(): string {
    return this.#database.name;
  }

  /** Every entry, the oldest first. Throws `journal-corrupt` (exit 4) at one that cannot be read. */
  entries(): JournalEntry[] {
    const after = this.#entries.at(-1)?.sequence ?? 0;
    for (const stored of this.#stored(after)) this.#entries.push(this.#parse(stored));
    return [...this.#entries];
  }

  /** Follows the chain of hashes; `known` is a head that was kept elsewhere. */
  verify(known?: string): ChainReport {
    const row = this.#row();
    const farm = { name: this.farm, entries: row?.entries ?? 0, head: row?.head ?? NO_ENTRY };
    return verifyChain(farm, this.#stored(), known);
  }

  holder(): LeaseHolder | undefined {
    const row = this.#row();
    if (!row || row.owner === null) return undefined;
    return {
      owner: row.owner,
      acquired: row.acquired ?? "",
      expiresMs: row.expires_ms ?? 0,
      pid: row.pid ?? 0,
      processStart: row.process_start ?? "",
      fencing: row.fencing,
    };
  }

  /** Runs `change` as one transaction that excludes other writers; ENOSPC on a full disk. */
  transaction<T>(change: () => T): T {
    return toldWhenFull(this.path, () => this.#database.transaction(change).immediate());
  }

  /** Within a transaction: makes `holder` the one who may write; its fencing number is one higher than any before. */
  setHolder(holder: Omit<LeaseHolder, "fencing">): number {
    this.#database
      .prepare("INSERT OR IGNORE INTO farms (name, entries, head, fencing) VALUES (?, 0, ?, 0)")
      .run(this.farm, NO_ENTRY);
    this.#database
      .prepare(
        `UPDATE farms SET fencing = fencing + 1, owner = @owner, pid = @pid, process_start = @processStart,
           acquired = @acquired, expires_ms = @expiresMs WHERE name = @farm`,
      )
      .run({ ...holder, farm: this.farm });
    return this.#row()?.fencing ?? 0;
  }

  /** Within a transaction: prolongs the lease of a fencing number; false when another one holds it. */
  renew(fencing: number, expiresMs: number): boolean {
    const { changes } = this.#database
      .prepare("UPDATE farms SET expires_ms = ? WHERE name = ? AND fencing = ? AND owner IS NOT NULL")
      .run(expiresMs, this.farm, fencing);
    return changes === 1;
  }

  /** Within a transaction: ends the lease of a fencing number. */
  release(fencing: number): void {
    this.#database
      .prepare("UPDATE farms SET owner = NULL, expires_ms = NULL WHERE name = ? AND fencing = ?")
      .run(this.farm, fencing);
  }

  /** Within a transaction: adds an entry to the chain, unless `fencing` is no longer the newest number. */
  append(
    event: JournalEvent,
    writer: { owner: string; fencing: number; time: string },
  ): JournalEntry | undefined {
    const row = this.#row();
    if (row?.fencing !== writer.fencing || row.owner === null) return undefined;
    const entry = { farm: this.farm, sequence: row.entries + 1, previous: row.head, ...writer };
    const body = entryBody(entry, event);
    const hash = entryHash(body);
    this.#database
      .prepare("INSERT INTO farm_entries (farm, sequence, body, hash) VALUES (?, ?, ?, ?)")
      .run(this.farm, entry.sequence, body, hash);
    this.#database
      .prepare("UPDATE farms SET entries = ?, head = ? WHERE name = ?")
      .run(entry.sequence, hash, this.farm);
    return { ...entry, event, hash };
  }

  #row(): FarmRow | undefined {
    return this.#database.prepare<[string], FarmRow>("SELECT * FROM farms WHERE name = ?").get(this.farm);
  }

  /** Entries behind a sequence number, as they are in the catalog. */
  #stored(after = 0): StoredEntry[] {
    return this.#database
      .prepare<[string, number], StoredEntry>(
        "SELECT sequence, body, hash FROM farm_entries WHERE farm = ? AND sequence > ? ORDER BY sequence",
      )
      .all(this.farm, after);
  }

  #parse({ sequence, body, hash }: StoredEntry): JournalEntry {
    try {
      return parseEntry(body, hash);
    } catch (cause) {
      throw new DoppelError(
        "journal-corrupt",
        `entry ${sequence} of the journal of ${this.farm} cannot be read`,
        {
          hint: "see 'doppel farm status FARM.yaml --verify'",
          exitCode: EXIT.different,
          cause,
        },
      );
    }
  }
}

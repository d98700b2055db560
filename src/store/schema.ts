import type Database from "better-sqlite3";
import { DoppelError } from "../errors.ts";

/** Each entry brings the catalog from its index to the next version; entries are never changed, only added. */
const MIGRATIONS = [
  `CREATE TABLE images (
     digest TEXT PRIMARY KEY,
     created TEXT NOT NULL,
     host TEXT NOT NULL,
     os TEXT NOT NULL,
     grade TEXT NOT NULL,
     disks INTEGER NOT NULL,
     disk_bytes INTEGER NOT NULL,
     data_bytes INTEGER NOT NULL,
     stored_bytes INTEGER NOT NULL,
     read_errors INTEGER NOT NULL,
     parent TEXT,
     manifest_bytes INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE tags (
     name TEXT NOT NULL,
     tag TEXT NOT NULL,
     digest TEXT NOT NULL REFERENCES images (digest),
     updated TEXT NOT NULL,
     PRIMARY KEY (name, tag)
   ) STRICT;
   CREATE INDEX tags_by_digest ON tags (digest);
   CREATE TABLE leases (
     kind TEXT NOT NULL,
     key TEXT NOT NULL,
     pid INTEGER NOT NULL,
     process_start TEXT NOT NULL,
     created TEXT NOT NULL,
     PRIMARY KEY (kind, key)
   ) STRICT;`,
  `CREATE TABLE attachments (
     digest TEXT PRIMARY KEY,
     subject TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
     artifact_type TEXT NOT NULL,
     created TEXT NOT NULL,
     annotations TEXT NOT NULL,
     manifest_bytes INTEGER NOT NULL
   ) STRICT;
   CREATE INDEX attachments_by_subject ON attachments (subject);`,
  `ALTER TABLE leases ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
   CREATE TABLE state (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
   INSERT INTO state (name, value) VALUES ('sequence', 0);
   CREATE TABLE replacements (
     digest TEXT PRIMARY KEY,
     replacement TEXT NOT NULL,
     replaced TEXT NOT NULL
   ) STRICT;
   CREATE TABLE remotes (
     digest TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
     remote TEXT NOT NULL,
     seen TEXT NOT NULL,
     PRIMARY KEY (digest, remote)
   ) STRICT;
   CREATE INDEX images_by_parent ON images (parent);`,
  `CREATE TABLE kept_captures (
     name TEXT NOT NULL,
     tag TEXT NOT NULL,
     created TEXT NOT NULL,
     parent TEXT,
     disks TEXT NOT NULL,
     PRIMARY KEY (name, tag)
   ) STRICT;`,
  `CREATE TABLE farms (
     name TEXT PRIMARY KEY,
     entries INTEGER NOT NULL,
     head TEXT NOT NULL,
     fencing INTEGER NOT NULL,
     owner TEXT,
     pid INTEGER,
     process_start TEXT,
     acquired TEXT,
     expires_ms INTEGER
   ) STRICT;
   CREATE TABLE farm_entries (
     farm TEXT NOT NULL REFERENCES farms (name),
     sequence INTEGER NOT NULL,
     body TEXT NOT NULL,
     hash TEXT NOT NULL,
     PRIMARY KEY (farm, sequence)
   ) STRICT;`,
  `CREATE TABLE channels (
     name TEXT NOT NULL,
     tag TEXT NOT NULL,
     requires TEXT NOT NULL,
     keys TEXT NOT NULL,
     declared TEXT NOT NULL,
     PRIMARY KEY (name, tag)
   ) STRICT;
   CREATE TABLE channel_steps (
     number INTEGER PRIMARY KEY AUTOINCREMENT,
     name TEXT NOT NULL,
     tag TEXT NOT NULL,
     action TEXT NOT NULL,
     digest TEXT,
     at TEXT NOT NULL,
     by TEXT NOT NULL,
     source TEXT NOT NULL,
     FOREIGN KEY (name, tag) REFERENCES channels (name, tag) ON DELETE CASCADE
   ) STRICT;
   CREATE TABLE verifications (
     digest TEXT PRIMARY KEY REFERENCES images (digest) ON DELETE CASCADE,
     at TEXT NOT NULL,
     result TEXT NOT NULL,
     frames INTEGER NOT NULL,
     bytes INTEGER NOT NULL
   ) STRICT;`,
];

/** Brings a catalog to the newest schema; `catalog-newer` when a later Doppel wrote it. */
export function migrate(database: Database.Database): void {
  // Without the transaction, which would wait for whoever writes: nothing is to be done here almost always.
  if (database.pragma("user_version", { simple: true }) === MIGRATIONS.length) return;
  database
    .transaction(() => {
      const version = database.pragma("user_version", { simple: true }) as number;
      if (version > MIGRATIONS.length) {
        throw new DoppelError(
          "catalog-newer",
          `the catalog has schema ${version}, this Doppel knows ${MIGRATIONS.length}`,
          {
            hint: "use the newer Doppel that wrote it",
          },
        );
      }
      for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
      database.pragma(`user_version = ${MIGRATIONS.length}`);
    })
    .immediate();
}

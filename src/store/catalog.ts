import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { wrapError } from "../errors.ts";
import { Channels } from "./channels.ts";
import { toldWhenFull } from "./full-disk.ts";
import { migrate } from "./schema.ts";

/** One line of `doppel images ls`. Sizes in bytes. */
export interface ImageSummary {
  digest: string;
  created: string;
  host: string;
  os: string;
  grade: string;
  disks: number;
  diskBytes: number;
  dataBytes: number;
  /** Bytes of all blobs of the image. */
  storedBytes: number;
  readErrors: number;
  parent: string | null;
}

export interface TaggedImage extends ImageSummary {
  name: string;
  tag: string;
}

/** Something that was attached to an image after it was sealed: an OCI referrer. */
export interface Attachment {
  /** Of its manifest. */
  digest: string;
  /** Digest of the image. */
  subject: string;
  artifactType: string;
  created: string;
  annotations: Record<string, string>;
  manifestBytes: number;
}

interface AttachmentRow extends Omit<Attachment, "annotations"> {
  annotations: string;
}

const ATTACHMENT_COLUMNS =
  "digest, subject, artifact_type AS artifactType, created, annotations, manifest_bytes AS manifestBytes";

const COLUMNS = `digest, created, host, os, grade, disks, disk_bytes AS diskBytes, data_bytes AS dataBytes,
  stored_bytes AS storedBytes, read_errors AS readErrors, parent`;

type ListRow = [
  ...[name: string, tag: string, digest: string, created: string, host: string, os: string, grade: string],
  ...[disks: number, diskBytes: number, dataBytes: number, storedBytes: number, readErrors: number],
  parent: string | null,
];

function taggedImage(row: ListRow): TaggedImage {
  return {
    name: row[0],
    tag: row[1],
    digest: row[2],
    created: row[3],
    host: row[4],
    os: row[5],
    grade: row[6],
    disks: row[7],
    diskBytes: row[8],
    dataBytes: row[9],
    storedBytes: row[10],
    readErrors: row[11],
    parent: row[12],
  };
}

function openDatabase(path: string): Database.Database {
  const database = new Database(path, { timeout: 30_000 });
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.pragma("foreign_keys = ON");
  migrate(database);
  return database;
}

/** The SQLite catalog: names, tags, summaries, leases. Every image is also in the OCI layout's index. */
export class Catalog {
  readonly database: Database.Database;
  readonly channels: Channels;

  private constructor(database: Database.Database) {
    this.database = database;
    this.channels = new Channels(database);
  }

  static pathIn(home: string): string {
    return join(home, "catalog.db");
  }

  /** Opens or makes HOME/catalog.db; `catalog-unreadable` when it is not a catalog, ENOSPC on a full disk. */
  static open(home: string): Catalog {
    const path = Catalog.pathIn(home);
    try {
      // Private from its first moment on; SQLite gives its other files the same mode.
      closeSync(openSync(path, "a", 0o600));
      return new Catalog(toldWhenFull(path, () => openDatabase(path)));
    } catch (error) {
      const hint = `move ${path} away: it is made again from the images, without journals of farms`;
      throw wrapError(error, "catalog-unreadable", `the catalog ${path} cannot be opened`, hint);
    }
  }

  close(): void {
    this.database.close();
  }

  /** Records an image and, with `name` and `tag`, moves the tag to it. */
  add(image: ImageSummary & { manifestBytes: number }, name?: string, tag?: string): void {
    this.database
      .prepare(
        `INSERT OR IGNORE INTO images
           (digest, created, host, os, grade, disks, disk_bytes, data_bytes, stored_bytes, read_errors, parent, manifest_bytes)
         VALUES (@digest, @created, @host, @os, @grade, @disks, @diskBytes, @dataBytes, @storedBytes, @readErrors, @parent,
                 @manifestBytes)`,
      )
      .run(image);
    if (name !== undefined && tag !== undefined) this.setTag(name, tag, image.digest);
  }

  setTag(name: string, tag: string, digest: string): void {
    this.database
      .prepare("INSERT OR REPLACE INTO tags (name, tag, digest, updated) VALUES (?, ?, ?, ?)")
      .run(name, tag, digest, new Date().toISOString());
  }

  digestOf(name: string, tag: string): string | undefined {
    const row = this.database
      .prepare<[string, string], { digest: string }>("SELECT digest FROM tags WHERE name = ? AND tag = ?")
      .get(name, tag);
    return row?.digest;
  }

  has(digest: string): boolean {
    return this.database.prepare("SELECT 1 FROM images WHERE digest = ?").get(digest) !== undefined;
  }

  /** What is recorded of one image; undefined when it is not here. */
  summary(digest: string): ImageSummary | undefined {
    return this.database
      .prepare<[string], ImageSummary>(`SELECT ${COLUMNS} FROM images WHERE digest = ?`)
      .get(digest);
  }

  isEmpty(): boolean {
    return this.database.prepare("SELECT 1 FROM images LIMIT 1").get() === undefined;
  }

  /** Bytes of the manifest of every image, by digest. */
  manifestSizes(): Map<string, number> {
    const rows = this.database
      .prepare<[], { digest: string; bytes: number }>("SELECT digest, manifest_bytes AS bytes FROM images")
      .all();
    return new Map(rows.map((row) => [row.digest, row.bytes]));
  }

  /** Every tag with its image, newest first. Rows come as arrays: of ten thousand, objects would take twice the time. */
  list(): TaggedImage[] {
    return this.database
      .prepare<[], ListRow>(
        `SELECT name, tag, ${COLUMNS} FROM tags JOIN images USING (digest) ORDER BY created DESC, name, tag`,
      )
      .raw()
      .all()
      .map(taggedImage);
  }

  /** Every tag, by name. */
  names(): { name: string; tag: string; digest: string }[] {
    return this.database
      .prepare<[], { name: string; tag: string; digest: string }>(
        "SELECT name, tag, digest FROM tags ORDER BY name, tag",
      )
      .all();
  }

  /** Digests of every image, tagged or not. */
  digests(): string[] {
    return this.database
      .prepare<[], { digest: string }>("SELECT digest FROM images")
      .all()
      .map((row) => row.digest);
  }

  tagsOf(digest: string): { name: string; tag: string }[] {
    return this.database
      .prepare<[string], { name: string; tag: string }>(
        "SELECT name, tag FROM tags WHERE digest = ? ORDER BY name, tag",
      )
      .all(digest);
  }

  childrenOf(digest: string): string[] {
    return this.database
      .prepare<[string], { digest: string }>(
        "SELECT digest FROM images WHERE parent = ? ORDER BY created, digest",
      )
      .all(digest)
      .map((row) => row.digest);
  }

  /** Digests of images that have no name. */
  untagged(): string[] {
    return this.database
      .prepare<[], { digest: string }>(
        "SELECT digest FROM images WHERE NOT EXISTS (SELECT 1 FROM tags WHERE tags.digest = images.digest)",
      )
      .all()
      .map((row) => row.digest);
  }

  /**
   * The image that now stands for `digest`: itself while it has a name, else what it was replaced by when it was compacted,
   * where that is here.
   */
  currentDigest(digest: string): string {
    const find = this.database.prepare<[string], { replacement: string }>(
      "SELECT replacement FROM replacements WHERE digest = ?",
    );
    const seen = new Set<string>();
    let found = digest;
    for (let current = digest; !seen.has(current) && this.tagsOf(current).length === 0; ) {
      seen.add(current);
      const next = find.get(current)?.replacement;
      if (next === undefined) break;
      if (this.has(next)) found = next;
      current = next;
    }
    return found;
  }

  /** Records that `replacement` has the same disks as `digest`, whose children become its. */
  replace(digest: string, replacement: string): void {
    this.database
      .prepare("INSERT OR REPLACE INTO replacements (digest, replacement, replaced) VALUES (?, ?, ?)")
      .run(digest, replacement, new Date().toISOString());
    this.database.prepare("UPDATE images SET parent = ? WHERE parent = ?").run(replacement, digest);
  }

  /** Records that a registry has the image. */
  addRemote(digest: string, remote: string): void {
    this.database
      .prepare(
        `INSERT OR REPLACE INTO remotes (digest, remote, seen)
         SELECT digest, ?, ? FROM images WHERE digest = ?`,
      )
      .run(remote, new Date().toISOString(), digest);
  }

  /** Where an image was pushed to or pulled from. */
  remotesOf(digest: string): string[] {
    return this.database
      .prepare<[string], { remote: string }>("SELECT remote FROM remotes WHERE digest = ? ORDER BY remote")
      .all(digest)
      .map((row) => row.remote);
  }

  /** What the store remembers about itself under a name. */
  state(name: string): string | undefined {
    const row = this.database
      .prepare<[string], { value: string }>("SELECT value FROM state WHERE name = ?")
      .get(name);
    return row?.value;
  }

  setState(name: string, value: string): void {
    this.database.prepare("INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)").run(name, value);
  }

  parentOf(digest: string): string | undefined {
    const row = this.database
      .prepare<[string], { parent: string | null }>("SELECT parent FROM images WHERE digest = ?")
      .get(digest);
    return row?.parent ?? undefined;
  }

  addAttachment(attachment: Attachment): void {
    this.database
      .prepare(
        `INSERT OR IGNORE INTO attachments (digest, subject, artifact_type, created, annotations, manifest_bytes)
         VALUES (@digest, @subject, @artifactType, @created, @annotations, @manifestBytes)`,
      )
      .run({ ...attachment, annotations: JSON.stringify(attachment.annotations) });
  }

  /** What is attached to an image, or to any; the newest first. */
  attachments(subject?: string): Attachment[] {
    return this.database
      .prepare<[string | null], AttachmentRow>(
        `SELECT ${ATTACHMENT_COLUMNS} FROM attachments WHERE subject = coalesce(?, subject) ORDER BY created DESC, digest`,
      )
      .all(subject ?? null)
      .map((row) => ({ ...row, annotations: JSON.parse(row.annotations) }));
  }

  /** Digests of all attachments and of the images that they belong to. */
  attachmentDigests(): { digest: string; subject: string }[] {
    return this.database
      .prepare<[], { digest: string; subject: string }>("SELECT digest, subject FROM attachments")
      .all();
  }

  removeAttachment(digest: string): void {
    this.database.prepare("DELETE FROM attachments WHERE digest = ?").run(digest);
  }

  removeTag(name: string, tag: string): void {
    this.database.prepare("DELETE FROM tags WHERE name = ? AND tag = ?").run(name, tag);
  }

  removeImage(digest: string): void {
    this.database.prepare("DELETE FROM images WHERE digest = ?").run(digest);
  }

  /** What `change` would return; nothing of it stays. */
  rehearse<T>(change: () => T): T {
    this.database.exec("BEGIN IMMEDIATE");
    try {
      return change();
    } finally {
      this.database.exec("ROLLBACK");
    }
  }

  /** Runs `change` as one transaction that excludes other writers from its start. */
  transaction<T>(change: () => T): T {
    return this.database.transaction(change).immediate();
  }
}

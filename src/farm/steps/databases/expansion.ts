import { createHash } from "node:crypto";
import type { FarmContext } from "../../context.ts";
import { engineOfFile } from "../../databases/farm-databases.ts";
import { judgeMigration } from "../../databases/migration.ts";
import type { MigrationVerdict } from "../../databases/verdict.ts";
import type { FarmDatabase } from "../../file/databases.ts";
import { readPart } from "../provisioning.ts";

export interface JudgedFile {
  /** As the farm file names it. */
  file: string;
  /** Absent where nobody here knows the language. */
  verdict?: MigrationVerdict;
}

/** The migrations of one database, in order. */
export interface Expansion {
  files: JudgedFile[];
  /** Of all files' bytes. */
  digest: string;
}

/** Reads and judges the files of a database. Throws `farm-part-missing` (exit 2) when one is not there. */
export async function readExpansion({ farm }: FarmContext, database: FarmDatabase): Promise<Expansion> {
  const hash = createHash("sha256");
  const files: JudgedFile[] = [];
  for (const file of database.migrations) {
    const text = await readPart(farm, file);
    hash.update(`${text.length}\n`).update(text);
    if (database.engine === "commands") files.push({ file });
    else
      files.push({
        file,
        verdict: await judgeMigration(text.toString("utf8"), engineOfFile(database.engine)),
      });
  }
  return { files, digest: `sha256:${hash.digest("hex")}` };
}

import type { DatabaseAddress } from "./address.ts";
import { engineOf } from "./engines.ts";
import type { MigrationVerdict } from "./verdict.ts";

/** The databases whose migrations can be judged; `mysql` is MariaDB too. */
export type MigrationEngine = DatabaseAddress["engine"];

/** Judges every statement of a migration file. */
export function judgeMigration(sql: string, engine: MigrationEngine): Promise<MigrationVerdict> {
  return engineOf({ engine }).judge(sql);
}

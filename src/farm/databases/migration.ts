import { judgeMysqlMigration } from "./mysql/verdict.ts";
import { judgePostgresMigration } from "./postgres/verdict.ts";
import type { MigrationVerdict } from "./verdict.ts";

const JUDGES = { postgres: judgePostgresMigration, mysql: judgeMysqlMigration };

/** The databases whose migrations can be judged; `mysql` is MariaDB too. */
export type MigrationEngine = keyof typeof JUDGES;

/** Judges every statement of a migration file. */
export function judgeMigration(sql: string, engine: MigrationEngine): Promise<MigrationVerdict> {
  return JUDGES[engine](sql);
}

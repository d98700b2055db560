import { DoppelError, EXIT } from "../../errors.ts";
import type { FarmDatabase, SqlDatabase } from "../file/databases.ts";
import type { Farm } from "../file/load.ts";
import { suggest } from "../file/suggest.ts";
import type { SecretReference } from "../file/values.ts";
import { type DatabaseAddress, parseDatabaseUrl, withDatabase } from "./address.ts";
import type { MigrationEngine } from "./migration.ts";
import { readSecret } from "./secret.ts";

const COPY_SUFFIX = "_doppel_copy";
const LONGEST_NAME = 63;

/** The databases of a farm file and where they are. A secret is fetched once, when it is first needed. */
export class FarmDatabases {
  readonly #farm: Farm;
  readonly #addresses = new Map<string, Promise<DatabaseAddress>>();

  constructor(farm: Farm) {
    this.#farm = farm;
  }

  all(): readonly FarmDatabase[] {
    return this.#farm.spec.databases;
  }

  /** Throws `farm-database-unknown` (exit 2). */
  find(name: string): FarmDatabase {
    const found = this.all().find((database) => database.name === name);
    if (found) return found;
    const names = this.all().map((database) => database.name);
    const meant = suggest(name, names);
    throw new DoppelError("farm-database-unknown", `${this.#farm.path} has no database ${name}`, {
      hint: meant === undefined ? `it has ${names.join(", ") || "none"}` : `did you mean ${meant}?`,
      exitCode: EXIT.usage,
    });
  }

  /** The live database, with the login of who may migrate it. */
  live(database: SqlDatabase): Promise<DatabaseAddress> {
    return this.#once(`live/${database.name}`, () => this.#read(database, database.url));
  }

  /** The live database, with the login of the application. */
  application(database: SqlDatabase): Promise<DatabaseAddress> {
    const url = database.applicationUrl ?? database.url;
    return this.#once(`application/${database.name}`, () => this.#read(database, url));
  }

  /** The test copy: where the file says, else beside the live database under a name that follows from its own. */
  copy(database: SqlDatabase): Promise<DatabaseAddress> {
    return this.#once(`copy/${database.name}`, async () => {
      if (database.copy) return await this.#read(database, database.copy.url);
      const live = await this.live(database);
      return withDatabase(live, copyName(live.database));
    });
  }

  #once(key: string, read: () => Promise<DatabaseAddress>): Promise<DatabaseAddress> {
    const known = this.#addresses.get(key) ?? read();
    this.#addresses.set(key, known);
    return known;
  }

  async #read({ name, engine }: SqlDatabase, reference: SecretReference): Promise<DatabaseAddress> {
    const address = parseDatabaseUrl(await readSecret(this.#inFolder(reference)));
    if (address.engine === engineOfFile(engine)) return address;
    throw new DoppelError(
      "database-url-invalid",
      `the URL of ${name} is one of ${address.engine}, and the farm file says ${engine}`,
      { exitCode: EXIT.usage },
    );
  }

  /** A secret's file is relative to the folder of the farm file. */
  #inFolder(reference: SecretReference): SecretReference {
    return "file" in reference ? { file: this.#farm.resolve(reference.file) } : reference;
  }
}

/** Whose SQL an engine of the farm file speaks: MariaDB's is MySQL's. */
export function engineOfFile(engine: SqlDatabase["engine"]): MigrationEngine {
  return engine === "postgres" ? "postgres" : "mysql";
}

/** The name of a test copy beside its database; the same every time, so that a shadow can be told. */
export function copyName(database: string): string {
  return `${database.slice(0, LONGEST_NAME - COPY_SUFFIX.length)}${COPY_SUFFIX}`;
}

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type DatabaseAddress, parseDatabaseUrl } from "../../src/farm/databases/address.ts";
import { engineOf } from "../../src/farm/databases/engines.ts";
import { requireSafetyCopy } from "../../src/farm/databases/expand.ts";
import { restoreDatabase, restoreNames, undoRestore, writesSince } from "../../src/farm/databases/restore.ts";
import { makeSafetyCopy, verifySafetyCopy } from "../../src/farm/databases/safety-copy.ts";
import { dropTestCopy, makeTestCopy } from "../../src/farm/databases/test-copy.ts";
import { must } from "./doppel.ts";
import { type DatabaseServer, databases, SERVERS, type Sql, shop, sqlOf } from "./farm-databases.ts";

const BROKEN_DUMP = { postgres: "PGDMP", mysql: "SELECT 1; THIS IS NO SQL;" };

for (const { engine, start, possible } of SERVERS) {
  describe.runIf(possible)(engine, () => {
    let server: DatabaseServer;
    let address: DatabaseAddress;
    let folder: string;
    let sql: Sql;
    let count = 0;

    beforeAll(async () => {
      server = await start();
    });
    beforeEach(async () => {
      count += 1;
      folder = mkdtempSync(join(tmpdir(), "doppel-copies-"));
      address = await shop(server, `shop${count}`);
      sql = await sqlOf(server, address.database);
    });
    afterEach(async () => {
      await sql.end().catch(() => {});
      rmSync(folder, { recursive: true, force: true });
    });
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]();
    });

    const rowsOf = async (table: string, from = sql) =>
      Number((await from(`SELECT count(*) AS n FROM ${table}`))[0]?.n);

    /** A promise that only one of the engines makes. */
    const only = (which: typeof engine, promise: string, test: () => Promise<void>) => {
      if (which === engine) it(promise, test);
    };

    it("makes a private file with its digest, and restores it once to see that it can be", async () => {
      const file = join(folder, "copies", "shop.dump");
      const copy = await makeSafetyCopy(address, file);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect((await must("sha256sum", file)).split(" ")[0]).toBe(copy.sha256);
      expect(copy.rehearsal).toMatchObject({ tables: engine === "postgres" ? 3 : 2 });
      expect(copy.rehearsal?.rows).toBe(await rowsOf("accounts"));
      expect(await databases(server, address.database)).toEqual([address.database]);
      expect(readdirSync(join(folder, "copies"))).toEqual(["shop.dump"]);
      await expect(makeSafetyCopy(address, file)).rejects.toMatchObject({ code: "file-exists", exitCode: 3 });
    });

    it("is of one moment while the old version writes", async () => {
      let writing = true;
      const writer = await sqlOf(server, address.database);
      const busy = (async () => {
        while (writing) await writer("INSERT INTO accounts (email) VALUES ('busy@example.org')");
      })();
      const copy = await makeSafetyCopy(address, join(folder, "shop.dump"));
      writing = false;
      await busy;
      await writer.end();
      expect(copy.rehearsal?.rows).toBeLessThan(await rowsOf("accounts"));
    });

    it("is gone when the disk is full", async () => {
      const small = join(folder, "small");
      mkdirSync(small);
      await must("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small);
      try {
        const fill = "lpad('', 50000, md5(rand()))".replace(
          "rand",
          engine === "postgres" ? "random" : "rand",
        );
        const text =
          engine === "postgres"
            ? "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 9000))"
            : fill;
        await sql(`ALTER TABLE orders ADD COLUMN note ${engine === "postgres" ? "text" : "longtext"}`);
        for (let row = 0; row < 4; row += 1) await sql(`INSERT INTO orders (note) VALUES (${text})`);
        await expect(makeSafetyCopy(address, join(small, "shop.dump"))).rejects.toMatchObject({
          code: "ENOSPC",
        });
        expect(readdirSync(small)).toEqual([]);

        // pg_dump 15 ends with 0 when all that it wrote fits into its buffer, and not on the disk.
        await server.create(`tiny${count}`, "CREATE TABLE one (id int)");
        await must("dd", "if=/dev/zero", `of=${join(small, "ballast")}`, "bs=4k", "count=16", "status=none");
        const tiny = parseDatabaseUrl(server.url(`tiny${count}`));
        await expect(
          makeSafetyCopy(tiny, join(small, "tiny.dump"), { rehearse: false }),
        ).rejects.toMatchObject({ code: "ENOSPC" });
        expect(readdirSync(small)).toEqual(["ballast"]);
      } finally {
        await must("umount", small);
      }
    });

    it("is not used once a byte of it has changed", async () => {
      const file = join(folder, "shop.dump");
      const copy = await makeSafetyCopy(address, file);
      const bytes = readFileSync(file);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 20) ^ 0xff, bytes.length - 20);
      writeFileSync(file, bytes);
      const corrupt = { code: "copy-corrupt", exitCode: 4 };
      await expect(verifySafetyCopy(copy)).rejects.toMatchObject(corrupt);
      await expect(restoreDatabase(address, copy)).rejects.toMatchObject(corrupt);
      await expect(requireSafetyCopy(address, copy)).rejects.toMatchObject(corrupt);
      rmSync(file);
      await expect(verifySafetyCopy(copy)).rejects.toMatchObject(corrupt);
      expect(await databases(server, address.database)).toEqual([address.database]);
    });

    it("leaves the database as it is when the dump cannot be loaded", async () => {
      const good = await makeSafetyCopy(address, join(folder, "shop.dump"));
      const file = join(folder, "broken.dump");
      writeFileSync(file, BROKEN_DUMP[engine]);
      const sha256 = (await must("sha256sum", file)).split(" ")[0] ?? "";
      await expect(restoreDatabase(address, { ...good, file, sha256 })).rejects.toMatchObject({
        code: "program-failed",
      });
      expect(await rowsOf("accounts")).toBeGreaterThan(0);
      expect(await databases(server, address.database)).toEqual([address.database]);
    });

    it("goes back in one step, says what is lost, and that can be undone", async () => {
      const copy = await makeSafetyCopy(address, join(folder, "shop.dump"));
      const before = await rowsOf("accounts");
      const writer = await sqlOf(server, address.database);
      await writer("INSERT INTO accounts (email) VALUES ('a'), ('b'), ('c')");
      await writer("DELETE FROM accounts WHERE email = 'c'");
      await writer.end();
      const seen = async () => (await writesSince(address, copy)).rows;
      await expect
        .poll(seen, { interval: 100, timeout: 20_000 })
        .toBeGreaterThanOrEqual(engine === "postgres" ? 4 : 2);
      const writes = await writesSince(address, copy);
      expect(writes.complete).toBe(engine === "postgres");
      expect(writes.minutes).toBeGreaterThan(0);
      expect(writes.tables.map(({ table }) => table)).toEqual([
        engine === "postgres" ? "public.accounts" : "accounts",
      ]);
      const names = restoreNames(address.database);
      const { lost } = await restoreDatabase(address, copy, undefined, names);
      expect(lost.rows).toBe(writes.rows);
      const restored = await sqlOf(server, address.database);
      expect(await rowsOf("accounts", restored)).toBe(before);
      expect(Number((await restored("SELECT count(*) AS n FROM rich"))[0]?.n)).toBe(0);
      await restored.end();
      expect(await undoRestore(address, names)).toBe(true);
      const undone = await sqlOf(server, address.database);
      expect(await rowsOf("accounts", undone)).toBe(before + 2);
      await undone.end();
    });

    it("is of this database and rehearsed, else nothing is expanded", async () => {
      const safetyCopy = await makeSafetyCopy(address, join(folder, "shop.dump"));
      await requireSafetyCopy(address, safetyCopy);
      const { rehearsal: _, ...unrehearsed } = safetyCopy;
      for (const other of [unrehearsed, { ...safetyCopy, identity: "other" }])
        await expect(requireSafetyCopy(address, other)).rejects.toMatchObject({ code: "no-safety-copy" });
    });

    it("has a test copy where it is wanted, but never over the live database or another one", async () => {
      const to = { ...address, database: `${address.database}_wanted` };
      const copy = await makeTestCopy(address, { to });
      const there = await sqlOf(server, to.database);
      expect(await rowsOf("accounts", there)).toBe(await rowsOf("accounts"));
      await there.end();
      const refused = { code: "copy-exists", exitCode: 3 };
      await expect(makeTestCopy(address, { to })).rejects.toMatchObject(refused);
      await makeTestCopy(address, { to, replace: true });
      const live = { to: { ...address, host: "localhost" }, replace: true };
      await expect(makeTestCopy(address, live)).rejects.toMatchObject({ code: "copy-is-live", exitCode: 3 });
      expect(await rowsOf("accounts")).toBeGreaterThan(0);
      await dropTestCopy(copy);
    });

    it("never prints the password, whatever fails", async () => {
      const secret = "another s3cret:\\\"'%&";
      const cases: [string, DatabaseAddress][] = [
        ["database-login", { ...address, password: secret }],
        ["database-unknown", { ...address, database: "nowhere" }],
        ["database-unreachable", { ...address, password: secret, port: 1 }],
      ];
      for (const [code, wrong] of cases) {
        const error = await makeSafetyCopy(wrong, join(folder, "wrong.dump")).catch((reason) => reason);
        expect(error.code).toBe(code);
        expect(`${error.message} ${error.hint} ${JSON.stringify(error.details)}`).not.toMatch(/s3cret/);
      }
      expect(existsSync(join(folder, "wrong.dump"))).toBe(false);
    });

    it("works with a password of awkward characters, that is on no command line", async () => {
      const secret = "a:b\\c\"d'e #f;g%h";
      const name = `odd${count}`;
      await sql(
        engine === "postgres"
          ? `CREATE ROLE ${name} SUPERUSER LOGIN PASSWORD '${secret.replaceAll("'", "''")}'`
          : `CREATE USER ${name} IDENTIFIED BY '${secret.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`,
      );
      if (engine === "mysql") await sql(`GRANT ALL ON *.* TO ${name}`);
      const url = server
        .url(address.database)
        .replace(/\/\/[^@]*@/, `//${name}:${encodeURIComponent(secret)}@`);
      const copy = await makeSafetyCopy(parseDatabaseUrl(url), join(folder, "odd.dump"));
      expect(copy.rehearsal).toBeDefined();
    });

    it("tells which machines are connected, and whether two addresses mean one database", async () => {
      const sessions = await engineOf(address).sessions(address);
      expect(sessions).toMatchObject([{ clientAddress: "127.0.0.1", user: "keeper", count: 1 }]);
      const facts = await engineOf(address).facts(address);
      const same = await engineOf(address).facts({ ...address, host: "localhost" });
      const copy = await makeTestCopy(address);
      const other = await engineOf(address).facts(copy.address);
      expect(same.identity).toBe(facts.identity);
      expect(other.identity).not.toBe(facts.identity);
      expect(Math.abs(Date.parse(facts.now) - Date.now())).toBeLessThan(60_000);
      await dropTestCopy(copy);
    });

    only("postgres", "says which pg_dump it needs when the one here is too old", async () => {
      const program = join(folder, "pg_dump");
      writeFileSync(program, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n", { mode: 0o755 });
      const path = process.env.PATH ?? "";
      process.env.PATH = `${folder}:${path}`;
      try {
        await expect(makeSafetyCopy(address, join(folder, "shop.dump"))).rejects.toMatchObject({
          code: "dump-program-old",
          exitCode: 3,
        });
      } finally {
        process.env.PATH = path;
      }
    });

    only("postgres", "copies by a template while nobody is connected", async () => {
      await sql.end();
      expect((await makeTestCopy(address)).how).toBe("template");
    });

    only("postgres", "keeps the database's own settings, rights and owner", async () => {
      await sql(`CREATE ROLE keeper${count}; CREATE ROLE guest${count};
        ALTER DATABASE ${address.database} SET search_path TO other, public;
        ALTER DATABASE ${address.database} SET work_mem TO '5MB';
        ALTER ROLE guest${count} IN DATABASE ${address.database} SET statement_timeout TO 100;
        REVOKE ALL ON DATABASE ${address.database} FROM PUBLIC;
        GRANT CONNECT ON DATABASE ${address.database} TO guest${count};
        ALTER DATABASE ${address.database} OWNER TO keeper${count}`);
      const properties = async () => {
        const now = await sqlOf(server, address.database);
        const rows =
          await now(`SELECT pg_get_userbyid(datdba) AS owner, (SELECT array_agg(a::text ORDER BY a::text)
            FROM unnest(datacl) a) AS acl, (SELECT array_agg(c ORDER BY c) FROM pg_db_role_setting s, unnest(s.setconfig) c
            WHERE s.setdatabase = d.oid) AS settings FROM pg_database d WHERE datname = current_database()`);
        await now.end();
        return rows;
      };
      const before = await properties();
      const copy = await makeSafetyCopy(address, join(folder, "shop.dump"));
      await restoreDatabase(address, copy);
      expect(await properties()).toEqual(before);
    });

    only("mysql", "is not restored halfway where tables have triggers: it is refused", async () => {
      await sql("CREATE TRIGGER watch BEFORE INSERT ON accounts FOR EACH ROW SET NEW.balance = 1");
      const copy = await makeSafetyCopy(address, join(folder, "shop.dump"));
      const refused = { code: "replace-triggers", exitCode: 3 };
      await expect(restoreDatabase(address, copy)).rejects.toMatchObject(refused);
      expect(await databases(server, address.database)).toEqual([address.database]);
    });
  });
}

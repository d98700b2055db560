import { afterEach, describe, expect, it } from "vitest";
import { formatDatabaseUrl, parseDatabaseUrl } from "../../../../src/farm/databases/address.ts";
import { copyName, FarmDatabases } from "../../../../src/farm/databases/farm-databases.ts";
import type { SqlDatabase } from "../../../../src/farm/file/databases.ts";
import type { Farm } from "../../../../src/farm/file/load.ts";

const VARIABLE = "DOPPEL_TEST_DATABASE_URL";

afterEach(() => {
  delete process.env[VARIABLE];
});

function farmOf(engine: SqlDatabase["engine"], url: string): [FarmDatabases, SqlDatabase] {
  process.env[VARIABLE] = url;
  const database = { engine, name: "orders", url: { env: VARIABLE } } as unknown as SqlDatabase;
  const spec = { databases: [database] };
  return [new FarmDatabases({ path: "farm.yaml", spec } as unknown as Farm), database];
}

describe("the databases of a farm file", () => {
  it("speak MySQL when they are MariaDB's, and the copy stands beside the live one", async () => {
    const [databases, orders] = farmOf("mariadb", "mariadb://app:pw@db:3307/orders");
    expect(await databases.live(orders)).toMatchObject({ engine: "mysql", port: 3307, database: "orders" });
    expect(await databases.copy(orders)).toMatchObject({ port: 3307, database: "orders_doppel_copy" });
  });

  it("are refused when the URL is of another kind, without showing it", async () => {
    const [databases, orders] = farmOf("postgres", "mysql://app:s3cret@db/orders");
    await expect(databases.live(orders)).rejects.toMatchObject({
      code: "database-url-invalid",
      message: expect.not.stringContaining("s3cret"),
    });
  });

  it("are named with what was perhaps meant", () => {
    const [databases] = farmOf("postgres", "");
    expect(() => databases.find("order")).toThrow(
      expect.objectContaining({ code: "farm-database-unknown", exitCode: 2, hint: "did you mean orders?" }),
    );
  });

  it("have copies whose names fit both engines", () => {
    expect(copyName("a".repeat(63))).toHaveLength(63);
    expect(copyName("a".repeat(63))).toMatch(/^a+_doppel_copy$/);
  });
});

describe("a URL that is written again", () => {
  it.each([
    "postgres://app:p%40ss%3A%2F%25@db.example:5433/orders?sslmode=verify-full",
    "mysql://app:@[::1]:3306/st%20ock?sslmode=disable",
  ])("is the same: %s", (url) => {
    const address = parseDatabaseUrl(url);
    expect(parseDatabaseUrl(formatDatabaseUrl(address))).toEqual(address);
  });
});

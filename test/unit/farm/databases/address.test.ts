import { describe, expect, it } from "vitest";
import { describeAddress, parseDatabaseUrl } from "../../../../src/farm/databases/address.ts";

describe("the URL of a database", () => {
  it("is read with defaults and escapes", () => {
    const address = parseDatabaseUrl("postgresql://app:a%3Ab%2Fc@db.example.org/shop?sslmode=verify-full");
    expect(address).toEqual({
      engine: "postgres",
      host: "db.example.org",
      port: 5432,
      user: "app",
      password: "a:b/c",
      database: "shop",
      tls: "verify-full",
    });
    expect(describeAddress(address)).toBe("postgres://app@db.example.org:5432/shop");
    expect(parseDatabaseUrl("mariadb://app@[::1]:3307/shop")).toMatchObject({
      engine: "mysql",
      host: "::1",
      port: 3307,
      password: "",
    });
  });

  it("is never shown when it cannot be used", () => {
    for (const url of [
      "s3cret",
      "oracle://app:s3cret@db/shop",
      "postgres://app:s3cret@/shop",
      "postgres://app:s3cret@db",
      "postgres://app:s3cret@db/shop/more",
      "postgres://db/s3cret",
      "postgres://app:s3cret%zz@db/shop",
      "mysql://app:s3cret@db/shop?sslmode=maybe",
    ]) {
      let error: unknown;
      try {
        parseDatabaseUrl(url);
      } catch (reason) {
        error = reason;
      }
      expect(error).toMatchObject({ code: "database-url-invalid", exitCode: 2 });
      expect(String(error)).not.toContain("s3cret");
    }
  });
});

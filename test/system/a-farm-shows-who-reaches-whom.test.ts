import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createMuteServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MariadbServer, PostgresServer } from "../../fixtures/databases.ts";
import { must, possible } from "./doppel.ts";
import { FarmLab, sshSettings, startSite } from "./farm-lab.ts";

interface Report {
  passed: boolean;
  cells: { id: string; passed: boolean; message: string; latencyMs: number | null }[];
}

describe.skipIf(!possible || !PostgresServer.available() || !MariadbServer.available())(
  "doppel farm check",
  () => {
    let lab: FarmLab;
    let postgres: PostgresServer;
    let mariadb: MariadbServer;
    let site: Server;
    let answering = ["web1", "web2"];

    beforeAll(async () => {
      [lab, postgres, mariadb, site] = await Promise.all([
        FarmLab.start("web1", "web2"),
        PostgresServer.start(),
        MariadbServer.start(),
        startSite(() => answering),
      ]);
      await postgres.create("orders", "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2)");
      await mariadb.create("stock", "CREATE TABLE stock (id int)");
      lab.write("orders-url", `${postgres.url("orders")}\n`);
      lab.write("stock-url", `${mariadb.url("stock")}\n`);
    });

    afterAll(async () => {
      site?.close();
      await postgres?.[Symbol.asyncDispose]();
      await mariadb?.[Symbol.asyncDispose]();
      await lab?.[Symbol.asyncDispose]();
    });

    const describeFarm = (more: Record<string, unknown> = {}) => {
      const { port } = site.address() as AddressInfo;
      lab.describe({
        sites: {
          live: { url: "http://shop.test" },
          shadow: {
            url: "http://next.shop.test",
            connect: `127.0.0.1:${port}`,
            identify: { header: "X-Box" },
          },
        },
        // Each shadow's service is its sshd: a port that answers.
        boxes: lab.boxes.map(({ name, sshd }) => ({
          kind: "existing",
          name,
          shadow: { address: "127.0.0.1", port: sshd.port, ssh: sshSettings(sshd) },
        })),
        databases: [
          { engine: "postgres", name: "orders", url: { file: "orders-url" } },
          { engine: "mariadb", name: "stock", url: { file: "stock-url" } },
        ],
        checks: [
          { kind: "http", name: "front", contains: "new shop" },
          {
            kind: "sql",
            name: "rows",
            database: "orders",
            query: "SELECT count(*) FROM orders",
            equals: "2",
          },
          { kind: "command", name: "shell", run: ["sh", "-c", "echo up"], contains: "up" },
        ],
        ...more,
      });
    };

    const check = async (...words: string[]) => {
      const result = await lab.run("check", ...words, "--json");
      return { ...result, report: JSON.parse(result.stdout) as Report };
    };

    it("logs in to every database from inside every shadow, reaches every shadow, and keeps the evidence", async () => {
      describeFarm();
      const junit = join(lab.folder, "junit.xml");
      const { code, report } = await check("--junit", junit);
      expect(report.cells.filter(({ passed }) => !passed)).toEqual([]);
      expect(code).toBe(0);
      expect(report.cells.map(({ id }) => id)).toEqual([
        ...["database/web1/orders", "database/web1/stock", "database/web2/orders", "database/web2/stock"],
        ...["machine/web1/web2", "machine/web2/web1", "outside/outside/web1", "outside/outside/web2"],
        ...[
          "check/outside/front",
          "check/web1/rows",
          "check/web2/rows",
          "check/web1/shell",
          "check/web2/shell",
        ],
      ]);
      expect(await must("xmllint", "--xpath", "count(//testcase)", junit)).toBe("13\n");
      expect(await lab.json("status")).toMatchObject({
        checks: { passed: 13, failed: 0, fresh: 13, total: 13 },
      });
      // Nothing secret is kept.
      const audit = join(lab.folder, "audit.md");
      await lab.run("status", "--audit", audit);
      expect(readFileSync(audit, "utf8")).toContain("| database | web1 | orders | passed |");
      expect(readFileSync(audit, "utf8")).not.toMatch(/s3cret|postgres:\/\//);
    });

    it("shows as a grid what fails: a login, a value, a shadow that the router does not reach; exit 4", async () => {
      describeFarm();
      lab.write("stock-url", `${mariadb.url("stock").replace(/:[^:@]*@/, ":wrong@")}\n`);
      answering = ["web1"];
      const client = await postgres.connect("orders");
      await client.query("DELETE FROM orders WHERE id = 2");
      await client.end();
      const result = await lab.run("check");
      expect(result.code).toBe(4);
      expect(result.stdout).toMatch(/^outside +- +- +ok [\d.]+ ms +FAIL$/m);
      expect(result.stdout).toMatch(/^web1 +ok [\d.]+ ms +FAIL +- +ok [\d.]+ ms$/m);
      expect(result.stdout).toContain("FAIL outside outside to web2: not reached: only others answered");
      expect(result.stdout).toContain("FAIL check web1 to rows: the answer is '1' instead of '2'");
      expect(result.stdout).toMatch(/FAIL database web1 to stock: .*Access denied/);
      expect(result.stdout + result.stderr).not.toContain("wrong@");
      expect(await lab.json("status")).toMatchObject({ checks: { failed: 5 } });
    });

    it("names a shadow that is down, a database that is down, and a secret that is not there", async () => {
      answering = ["web1", "web2"];
      describeFarm({
        databases: [
          { engine: "postgres", name: "orders", url: { env: "DOPPEL_TEST_NO_SUCH_SECRET" } },
          { engine: "commands", name: "cache", commands: { check: ["false"] } },
        ],
        checks: [],
        boxes: [
          {
            kind: "existing",
            name: "web1",
            shadow: { address: "127.0.0.1", ssh: sshSettings(lab.box("web1").sshd) },
          },
          {
            kind: "existing",
            name: "web2",
            shadow: { address: "127.0.0.1", port: 9, ssh: { ...sshSettings(lab.box("web2").sshd), port: 9 } },
          },
        ],
      });
      const { code, report } = await check();
      expect(code).toBe(4);
      const messages = Object.fromEntries(report.cells.map(({ id, message }) => [id, message]));
      expect(messages["database/web1/orders"]).toContain("DOPPEL_TEST_NO_SUCH_SECRET");
      expect(messages["database/web1/cache"]).toBe("its check ended with 1");
      expect(messages["machine/web1/web2"]).toContain("Connection refused");
      expect(messages["database/web2/orders"]).toMatch(/cannot be reached|SECRET/);
      expect(messages["machine/web2/web1"]).toContain("port 9 cannot be reached");
    });

    it("does not wait for what takes a connection and says nothing", async () => {
      const mute = createMuteServer();
      await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
      try {
        const { port } = mute.address() as AddressInfo;
        describeFarm({
          databases: [],
          checks: [{ kind: "tls", name: "certificate", host: "127.0.0.1", port, timeout: "1s" }],
        });
        const { code, report } = await check();
        expect(code).toBe(4);
        expect(report.cells.at(-1)).toMatchObject({ passed: false, message: "no answer in 1 s" });
      } finally {
        mute.close();
      }
    }, 60_000);

    it("asks both versions the same, and the read-only requests of a log, and tells what differs", async () => {
      const asked: string[] = [];
      const both = createServer((request, response) => {
        const isShadow = request.headers.host === "next.shop.test";
        asked.push(`${request.method} ${request.url}`);
        response.statusCode = isShadow && request.url === "/broken" ? 500 : 200;
        response.end(`shop\nserved ${asked.length}\n${request.url === "/new" && isShadow ? "new" : "old"}`);
      });
      await new Promise<void>((resolve) => both.listen(0, "127.0.0.1", resolve));
      const connect = `127.0.0.1:${(both.address() as AddressInfo).port}`;
      try {
        lab.write(
          "access.log",
          ["GET /new?token=s3cret", "POST /orders", "GET /broken", "GET /same"]
            .map((request) => `10.0.0.1 - - [24/Nov/2026:12:00:00 +0000] "${request} HTTP/1.1" 200 5\n`)
            .join(""),
        );
        describeFarm({
          sites: {
            live: { url: "http://shop.test", connect },
            shadow: { url: "http://next.shop.test", connect },
          },
          databases: [],
          checks: [],
          compare: { requests: ["/", "/new"], ignore: ["served \\d+"], times: 2 },
        });
        const { code, stdout } = await lab.run("check", "--compare", "--log", join(lab.folder, "access.log"));
        expect(code).toBe(4);
        expect(stdout).toMatch(/^\/ +status 200 of both; [\d.]+ ms live, [\d.]+ ms shadow$/m);
        expect(stdout).toMatch(/^\/same +status 200 of both/m);
        expect(stdout).toContain(
          "FAIL compare outside to /new: line 3 of the body is 'new' instead of 'old'",
        );
        expect(stdout).toContain("FAIL compare outside to /broken: status 500 instead of 200");
        // Nothing that changes something is replayed, and what a query says is not told.
        expect(asked.some((request) => request.startsWith("POST"))).toBe(false);
        expect(asked).toContain("GET /new?token=s3cret");
        expect(stdout).toContain("/new?token=…");
        expect(stdout).not.toContain("s3cret");
      } finally {
        both.close();
      }
    });

    it("says how long a certificate is valid, and refuses one that nobody vouches for", async () => {
      const files = ["key.pem", "cert.pem"].map((name) => join(lab.folder, name));
      const [key = "", cert = ""] = files;
      await must(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        key,
        "-out",
        cert,
        "-days",
        "10",
        "-subj",
        "/CN=next.shop.test",
        "-addext",
        "subjectAltName=DNS:next.shop.test",
      );
      const { createServer: createSecure } = await import("node:https");
      const secure = createSecure({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) => {
        response.end("secure shop");
      });
      await new Promise<void>((resolve) => secure.listen(0, "127.0.0.1", resolve));
      try {
        const connect = `127.0.0.1:${(secure.address() as AddressInfo).port}`;
        lab.boxes.splice(1);
        const farm = (ca: object, days: number) =>
          describeFarm({
            sites: {
              live: { url: "http://shop.test" },
              shadow: { url: "https://next.shop.test", connect, ...ca },
            },
            databases: [],
            checks: [
              { kind: "tls", name: "certificate", days },
              { kind: "http", name: "front", contains: "secure" },
            ],
          });
        farm({ ca: "cert.pem" }, 5);
        expect((await check()).report.cells).toMatchObject([
          { id: "outside/outside/web1", passed: true },
          { passed: true, message: expect.stringContaining("valid for 9 days") },
          { passed: true },
        ]);
        farm({ ca: "cert.pem" }, 20);
        expect((await check()).report.cells[1]).toMatchObject({ passed: false });
        farm({}, 5);
        expect((await check()).report.cells).toMatchObject([
          { passed: false, message: expect.stringContaining("self-signed certificate") },
          { passed: false },
          { passed: false },
        ]);
      } finally {
        secure.close();
      }
    });
  },
);

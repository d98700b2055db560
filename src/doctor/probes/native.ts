import Database from "better-sqlite3";
import { compress, decompress } from "zstd-napi";
import type { Probe } from "../probe.ts";

export const nativeProbe: Probe = {
  name: "native modules",
  neededFor: "the catalog, verifying, raw export",
  optional: false,
  async run() {
    const text = Buffer.from("doppel");
    const zstd = decompress(compress(text)).equals(text);
    const database = new Database(":memory:");
    const { version } =
      database.prepare<[], { version: string }>("SELECT sqlite_version() AS version").get() ?? {};
    database.close();
    if (!zstd)
      return {
        outcome: "missing",
        what: "zstd does not give back what it got",
        mend: "npm rebuild zstd-napi",
      };
    return { outcome: "ok", what: `zstd works, SQLite ${version}` };
  },
};

import { readdirSync } from "node:fs";
import { defineConfig } from "rolldown";

/** What is run as a program of its own; all else is found from there. */
const PROGRAMS = [
  "src/cli/main.ts",
  "fixtures/demo/quickstart.ts",
  "fixtures/expand-and-die.ts",
  "fixtures/farm-and-die.ts",
  ...readdirSync("test/bench").map((file) => `test/bench/${file}`),
];

/** They load files of their own at run time: machine code, WebAssembly. */
const WITH_FILES = ["@guanmingchiu/sqlparser-ts", "better-sqlite3", "libpg-query", "ssh2", "zstd-napi"];

// One file a command instead of a thousand: a command starts in a third of the time.
export default defineConfig({
  input: Object.fromEntries(PROGRAMS.map((file) => [file.replace(/\.ts$/, ""), file])),
  platform: "node",
  transform: { target: "node20" },
  external: ["pg-native", ...WITH_FILES.map((name) => new RegExp(`^${name}(/|$)`))],
  output: {
    dir: "dist",
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "chunks/[name]-[hash].js",
    cleanDir: true,
    sourcemap: true,
  },
});

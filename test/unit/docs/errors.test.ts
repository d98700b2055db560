import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../../..");

function sources(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => readFileSync(join(root, folder, name), "utf8"));
}

/** The codes that the sources give to errors. */
function codes(): Set<string> {
  const found = new Set<string>();
  for (const text of sources("src", ".ts")) {
    for (const [, code] of text.matchAll(
      /(?:new DoppelError|wrapError|refused)\(\s*(?:\w+,\s*)?"([a-z][a-z-]+)"/g,
    )) {
      if (code) found.add(code);
    }
  }
  for (const text of sources("native/agent", ".c")) {
    for (const [call] of text.matchAll(/report_(?:error|warning)\([^;]*;/g)) {
      const code = /"([a-z]+(?:-[a-z]+)*)",\s*"/.exec(call.replace(/json_pack\([^)]*\)/g, ""))?.[1];
      if (code) found.add(code);
    }
  }
  return found;
}

describe("docs/errors.md", () => {
  it("has a row for every code", () => {
    const table = readFileSync(join(root, "docs/errors.md"), "utf8");
    const missing = [...codes()].filter((code) => !table.includes(`\`${code}\``));
    expect(missing).toEqual([]);
  });

  it("finds the codes at all", () => {
    for (const code of ["name-busy", "read-error", "pack-corrupt", "instance-exists"])
      expect(codes()).toContain(code);
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { temporaryName } from "../../../../../src/durable-file.ts";
import { leftovers } from "../../../../../src/farm/steps/databases/safety-copy.ts";

it("what a copy that was killed has left is that of its own database, and no finished copy", async () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-leftovers-"));
  try {
    const name = (database: string) => join(folder, `shop-${database}-20261130T142435Z.dump`);
    const left = temporaryName(name("orders"));
    for (const file of [left, name("orders"), temporaryName(name("orders-eu")), temporaryName(name("stock"))])
      writeFileSync(file, "");
    expect(await leftovers(folder, "shop-orders-")).toEqual([left]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

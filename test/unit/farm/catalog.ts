import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../../../src/farm/journal/journal.ts";
import { Catalog } from "../../../src/store/catalog.ts";

/** A catalog in a folder of its own, and the journal of the farm `shop` in it. It need not survive this machine. */
export class TestCatalog implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "doppel-journal-"));
  readonly catalog = Catalog.open(this.folder);
  readonly journal = new Journal(this.catalog.database, "shop");

  constructor() {
    this.catalog.database.pragma("synchronous = OFF");
  }

  [Symbol.dispose](): void {
    this.catalog.close();
    rmSync(this.folder, { recursive: true });
  }
}

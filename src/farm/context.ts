import type { ImageStore } from "../store/image-store.ts";
import { FarmDatabases } from "./databases/farm-databases.ts";
import type { Farm } from "./file/load.ts";
import { Journal } from "./journal/journal.ts";
import { FarmMachines } from "./machines/machines.ts";
import { FarmRouters } from "./routers/farm-routers.ts";

/** What every part of the farm works with: the file, the store, the journal, and the ways into machines, routers and databases. */
export class FarmContext implements AsyncDisposable {
  readonly farm: Farm;
  readonly store: ImageStore;
  readonly journal: Journal;
  readonly machines: FarmMachines;
  readonly routers: FarmRouters;
  readonly databases: FarmDatabases;
  /** Says what happens within a long step; nothing secret. */
  tell: (line: string) => void = () => {};

  constructor(farm: Farm, store: ImageStore) {
    this.farm = farm;
    this.store = store;
    this.journal = new Journal(store.catalog.database, farm.spec.name);
    this.machines = new FarmMachines(farm, store.home);
    this.routers = new FarmRouters(farm);
    this.databases = new FarmDatabases(farm);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machines[Symbol.asyncDispose]();
    await this.routers[Symbol.asyncDispose]();
  }
}

import type { ImageStore } from "../store/image-store.ts";
import type { Farm } from "./file/load.ts";
import { FarmMachines } from "./machines/machines.ts";

/** What every part of the farm works with: the file, the store, and the ways into the machines. */
export class FarmContext implements AsyncDisposable {
  readonly farm: Farm;
  readonly store: ImageStore;
  readonly machines: FarmMachines;

  constructor(farm: Farm, store: ImageStore) {
    this.farm = farm;
    this.store = store;
    this.machines = new FarmMachines(farm, store.home);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machines[Symbol.asyncDispose]();
  }
}

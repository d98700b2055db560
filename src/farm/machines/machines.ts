import { DoppelError } from "../../errors.ts";
import type { FarmBox } from "../file/boxes.ts";
import type { Farm } from "../file/load.ts";
import { Live } from "./live.ts";
import { Shadow } from "./shadow.ts";

/** The machines of a farm, each with at most one connection, which all who ask share. */
export class FarmMachines implements AsyncDisposable {
  readonly #shadows: Map<string, Shadow>;
  readonly #lives: Map<string, Live>;

  constructor(farm: Farm, home: string) {
    this.#shadows = new Map(farm.spec.boxes.map((box) => [box.name, new Shadow(farm, box, home)]));
    this.#lives = new Map(farm.spec.boxes.map((box) => [box.name, new Live(farm, box)]));
  }

  shadow(box: FarmBox | string): Shadow {
    const name = typeof box === "string" ? box : box.name;
    return known(this.#shadows.get(name), name);
  }

  live({ name }: FarmBox): Live {
    return known(this.#lives.get(name), name);
  }

  all(): Shadow[] {
    return [...this.#shadows.values()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const machines = [...this.all(), ...this.#lives.values()];
    await Promise.all(machines.map((machine) => machine[Symbol.asyncDispose]()));
  }
}

function known<T>(machine: T | undefined, name: string): T {
  if (machine) return machine;
  throw new DoppelError("farm-box-unknown", `the farm has no box ${name}`);
}

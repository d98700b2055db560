import { DoppelError } from "../../errors.ts";
import type { FarmBox } from "../file/boxes.ts";
import type { Farm } from "../file/load.ts";
import { Shadow } from "./shadow.ts";

/** The shadows of a farm, each with at most one connection, which all who ask share. */
export class FarmMachines implements AsyncDisposable {
  readonly #shadows: Map<string, Shadow>;

  constructor(farm: Farm, home: string) {
    this.#shadows = new Map(farm.spec.boxes.map((box) => [box.name, new Shadow(farm, box, home)]));
  }

  shadow(box: FarmBox | string): Shadow {
    const name = typeof box === "string" ? box : box.name;
    const shadow = this.#shadows.get(name);
    if (shadow) return shadow;
    throw new DoppelError("farm-box-unknown", `the farm has no box ${name}`);
  }

  all(): Shadow[] {
    return [...this.#shadows.values()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all().map((shadow) => shadow[Symbol.asyncDispose]()));
  }
}

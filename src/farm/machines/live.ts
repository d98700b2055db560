import { DoppelError } from "../../errors.ts";
import type { SshConnection } from "../../ssh/connection.ts";
import type { FarmBox } from "../file/boxes.ts";
import type { Farm } from "../file/load.ts";
import { logIn } from "./login.ts";
import { type Reachable, SharedConnection } from "./shared-connection.ts";

/** The machine that users have today. Doppel runs there only what the farm file says must run on one side alone. */
export class Live implements Reachable, AsyncDisposable {
  readonly name: string;
  readonly #farm: Farm;
  readonly #box: FarmBox;
  readonly #connection = new SharedConnection((signal) => this.#open(signal));

  constructor(farm: Farm, box: FarmBox) {
    this.name = `${box.name}'s live machine`;
    this.#farm = farm;
    this.#box = box;
  }

  /** Whether the farm file says how to get in. */
  get canConnect(): boolean {
    return this.#box.live?.ssh !== undefined;
  }

  connect(signal: AbortSignal): Promise<SshConnection> {
    return this.#connection.connect(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  async #open(signal: AbortSignal): Promise<SshConnection> {
    const target = this.#box.live?.ssh;
    if (target === undefined) {
      throw new DoppelError("live-unreachable", `the farm file does not say how to log in to ${this.name}`, {
        hint: `name it: boxes, ${this.#box.name}, live, ssh`,
      });
    }
    return await logIn(this.#farm, target, signal);
  }
}

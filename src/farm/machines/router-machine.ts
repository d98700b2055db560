import type { SshConnection } from "../../ssh/connection.ts";
import type { Farm } from "../file/load.ts";
import { logIn } from "./login.ts";
import { type Reachable, SharedConnection } from "./shared-connection.ts";

/** Another machine, that a router runs on. */
export class RouterMachine implements Reachable, AsyncDisposable {
  readonly name: string;
  readonly #connection: SharedConnection;

  /** `target` as the farm file has it. */
  constructor(farm: Farm, target: string) {
    this.name = target;
    this.#connection = new SharedConnection((signal) => logIn(farm, target, signal));
  }

  connect(signal: AbortSignal): Promise<SshConnection> {
    return this.#connection.connect(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }
}

import { type DatabaseAddress, withDatabase } from "./address.ts";
import { engineOf } from "./engines.ts";
import { besideName } from "./safety-copy.ts";

export interface TestCopy {
  address: DatabaseAddress;
  /** A template is quick, and possible only while nobody is connected. */
  how: "template" | "dump";
  seconds: number;
}

/** Copies a database to a new one beside it, for tests; nothing is left when that fails. */
export async function makeTestCopy(address: DatabaseAddress, signal?: AbortSignal): Promise<TestCopy> {
  const engine = engineOf(address);
  const started = performance.now();
  const name = besideName(address.database, "copy");
  try {
    const how = await engine.duplicate(address, name, signal);
    const seconds = Math.round(performance.now() - started) / 1000;
    return { address: withDatabase(address, name), how, seconds };
  } catch (error) {
    await engine.drop(address, name);
    throw error;
  }
}

/** Removes a copy that `makeTestCopy` made. */
export async function dropTestCopy(address: DatabaseAddress, copy: TestCopy): Promise<void> {
  await engineOf(address).drop(address, copy.address.database);
}

import { DoppelError, EXIT } from "../../errors.ts";
import { type DatabaseAddress, describeAddress, withDatabase } from "./address.ts";
import { engineOf } from "./engines.ts";
import { besideName } from "./safety-copy.ts";

export interface TestCopy {
  address: DatabaseAddress;
  /** A template is quick, and possible only on the same server while nobody is connected. */
  how: "template" | "dump";
  seconds: number;
}

export interface TestCopyOptions {
  /** Where the copy is to be, perhaps on another server; by default beside the database under a name of its own. */
  to?: DatabaseAddress;
  /** Drop what is at `to`: for a copy that was made there before. */
  replace?: boolean;
  signal?: AbortSignal;
}

/**
 * Copies a database to a new one, for tests; nothing is left when that fails. Throws `copy-exists` (exit 3) when there is a
 * database at `to`, and `copy-is-live` (exit 3), whatever is allowed, when it is the database itself.
 */
export async function makeTestCopy(
  address: DatabaseAddress,
  { to, replace = false, signal }: TestCopyOptions = {},
): Promise<TestCopy> {
  const engine = engineOf(address);
  const started = performance.now();
  const target = to ?? withDatabase(address, besideName(address.database, "copy"));
  await makeRoom(address, target, replace);
  const how = await engine.duplicate(address, target, signal);
  const seconds = Math.round(performance.now() - started) / 1000;
  return { address: target, how, seconds };
}

/** Removes a copy that `makeTestCopy` made. */
export async function dropTestCopy(copy: TestCopy): Promise<void> {
  await engineOf(copy.address).drop(copy.address, copy.address.database);
}

async function makeRoom(live: DatabaseAddress, target: DatabaseAddress, replace: boolean): Promise<void> {
  if (live.engine !== target.engine) {
    throw refusal(
      "copy-exists",
      `a copy of ${describeAddress(live)} cannot be a database of ${target.engine}`,
    );
  }
  const engine = engineOf(target);
  if (!(await engine.exists(target))) return;
  if ((await engine.facts(target)).identity === (await engine.facts(live)).identity) {
    throw refusal(
      "copy-is-live",
      `the copy's address ${describeAddress(target)} is the live database itself`,
    );
  }
  if (!replace) throw refusal("copy-exists", `there is a database at ${describeAddress(target)} already`);
  await engine.drop(target, target.database);
}

function refusal(code: "copy-exists" | "copy-is-live", message: string): DoppelError {
  const hint = "name another database for the copy";
  return code === "copy-is-live"
    ? new DoppelError("copy-is-live", message, { hint, exitCode: EXIT.refused })
    : new DoppelError("copy-exists", message, { hint, exitCode: EXIT.refused });
}

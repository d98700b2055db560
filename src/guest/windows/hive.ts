import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DoppelError, EXIT } from "../../errors.ts";
import { runProgram } from "../../run-program.ts";
import { changeFile } from "../changes.ts";
import type { Guestfish } from "../guestfish.ts";
import type { ChangedFile } from "../step.ts";
import { parseRegFile, type RegEdit, type RegTree, type RegValue, regFile } from "./reg-file.ts";

/** What hivexregedit calls the root of a hive on its way in and out; any name does. */
const PREFIX = "HKEY_LOCAL_MACHINE\\HIVE";

/** A registry hive of a guest, as a copy on our side. */
export class Hive {
  /** What it is called in the registry. */
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  /** Whether all changes are in it, and none in its log only. */
  readonly isClean: boolean;
  readonly #copy: string;

  private constructor(name: string, path: string, content: Buffer, copy: string) {
    this.name = name;
    this.path = path;
    this.bytes = content.length;
    // The two sequence numbers of the base block differ while a write is under way (Suhanov, "Base block").
    this.isClean = content.length >= 12 && content.readUInt32LE(4) === content.readUInt32LE(8);
    this.#copy = copy;
  }

  /**
   * Takes a copy of the hive at `path` of the guest into `folder`. Throws `guestfs-failed` when there is none, and
   * `hive-corrupt` (exit 3) when it is none.
   */
  static async open(guestfish: Guestfish, name: string, path: string, folder: string): Promise<Hive> {
    const content = await guestfish.read(path);
    if (!content) throw new DoppelError("guestfs-failed", `there is no registry hive ${path} in the guest`);
    if (content.toString("latin1", 0, 4) !== "regf") throw corrupt(path);
    const copy = join(folder, path.replaceAll("/", "_"));
    await writeFile(copy, content, { mode: 0o600 });
    return new Hive(name, path, content, copy);
  }

  /** A key and all below it, by their paths in lower case relative to the hive; empty when it is not there. */
  async tree(key: string): Promise<RegTree> {
    const { stdout, exitCode } = await runProgram(
      "hivexregedit",
      ["--export", "--prefix", PREFIX, this.#copy, `\\${key}`],
      { allowFailure: true },
    );
    const tree: RegTree = new Map();
    if (exitCode !== 0) return tree;
    const start = `${PREFIX.toLowerCase()}\\`;
    for (const [path, values] of parseRegFile(stdout))
      if (path.startsWith(start)) tree.set(path.slice(start.length), values);
    return tree;
  }

  /** One value; undefined when it, or its key, is not there. */
  async value(key: string, name: string): Promise<RegValue | undefined> {
    return (await this.tree(key)).get(key.toLowerCase())?.get(name.toLowerCase());
  }

  /** Edits the copy. Throws `hive-corrupt` (exit 3) when hivex does not take the hive or the edits. */
  async edit(edits: readonly RegEdit[]): Promise<void> {
    const file = `${this.#copy}.reg`;
    await writeFile(file, regFile(PREFIX, edits), { mode: 0o600 });
    try {
      await runProgram("hivexregedit", ["--merge", "--prefix", PREFIX, this.#copy, file]);
    } catch (cause) {
      if (cause instanceof DoppelError && cause.code === "program-missing") throw cause;
      throw corrupt(this.path, cause);
    }
  }

  /** Puts the copy into the guest; the original stays beside it. */
  async save(guestfish: Guestfish): Promise<ChangedFile> {
    return await changeFile(guestfish, this.path, await readFile(this.#copy));
  }
}

function corrupt(path: string, cause?: unknown): DoppelError {
  return new DoppelError("hive-corrupt", `the registry hive ${path} cannot be read or edited`, {
    hint: "start the machine once, shut it down cleanly, and capture it again",
    exitCode: EXIT.refused,
    ...(cause === undefined ? {} : { cause }),
  });
}

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  copyByCommand,
  type DatabaseCommands,
  expandByCommand,
  restoreByCommand,
  safetyCopyByCommand,
} from "../../src/farm/databases/commands.ts";

let folder: string;
let live: string;
let commands: Required<DatabaseCommands>;

/** A database that is one file: its commands are a shell's. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "doppel-commands-"));
  live = join(folder, "live");
  writeFileSync(live, "one\n");
  const shell = (script: string) => ["sh", "-c", script, "sh", folder];
  commands = {
    copy: shell('cp "$1/live" "$1/test"'),
    safetyCopy: shell('cp "$1/live" "$DOPPEL_COPY_FILE"'),
    rehearse: shell('cmp "$1/live" "$DOPPEL_COPY_FILE"'),
    expand: shell(
      'cat "$DOPPEL_MIGRATION_FILE" >> "$1/$([ "$DOPPEL_TARGET" = live ] && echo live || echo test)"',
    ),
    restore: shell('cp "$DOPPEL_COPY_FILE" "$1/live"'),
  };
});
afterEach(() => rmSync(folder, { recursive: true }));

it("is copied, expanded and restored", async () => {
  const migration = join(folder, "migration");
  writeFileSync(migration, "two\n");
  await copyByCommand(commands);
  const copy = await safetyCopyByCommand(commands, join(folder, "safe", "copy"));
  expect(copy).toMatchObject({ bytes: 4, rehearsal: { seconds: expect.any(Number) } });
  await expandByCommand(commands, migration, "copy");
  expect([readFileSync(live, "utf8"), readFileSync(join(folder, "test"), "utf8")]).toEqual([
    "one\n",
    "one\ntwo\n",
  ]);
  await expandByCommand(commands, migration, "live");
  await restoreByCommand(commands, copy);
  expect(readFileSync(live, "utf8")).toBe("one\n");
});

it("keeps no safety copy whose rehearsal fails, and restores none that has changed", async () => {
  const file = join(folder, "safe", "copy");
  const failing = { ...commands, rehearse: ["sh", "-c", "echo it differs >&2; exit 1"] };
  await expect(safetyCopyByCommand(failing, file)).rejects.toMatchObject({
    code: "program-failed",
    message: expect.stringContaining("the command 'rehearse' of the database failed"),
  });
  expect(readdirSync(join(folder, "safe"))).toEqual([]);
  const copy = await safetyCopyByCommand(commands, file);
  writeFileSync(file, "other\n");
  await expect(restoreByCommand(commands, copy)).rejects.toMatchObject({ code: "copy-corrupt", exitCode: 4 });
  expect(readFileSync(live, "utf8")).toBe("one\n");
});

it("says which command is missing", async () => {
  const { safetyCopy: _, ...others } = commands;
  await expect(safetyCopyByCommand(others, join(folder, "copy"))).rejects.toMatchObject({
    code: "command-missing",
    exitCode: 3,
    message: expect.stringContaining("safetyCopy"),
  });
});

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  copyByCommand,
  type DatabaseCommands,
  expandByCommand,
  restoreByCommand,
  safetyCopyByCommand,
} from "../../src/farm/databases/commands.ts";
import { possible } from "./doppel.ts";
import { FarmLab, sshSettings, startSite } from "./farm-lab.ts";

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

describe.skipIf(!possible)("in a farm", () => {
  let lab: FarmLab;
  let site: Server;

  beforeAll(async () => {
    [lab, site] = await Promise.all([FarmLab.start("web1"), startSite(() => ["web1"])]);
    const shell = (script: string) => ["sh", "-c", script, "sh", lab.folder];
    lab.write("ledger", "one\n");
    lab.write("two", "two\n");
    lab.write("pointer", "copy\n");
    const { sshd } = lab.box("web1");
    const connect = `127.0.0.1:${(site.address() as AddressInfo).port}`;
    lab.describe({
      sites: {
        live: { url: "http://shop.test" },
        shadow: { url: "http://next.shop.test", connect, identify: { header: "X-Box" } },
      },
      boxes: [
        {
          ...{ kind: "existing", name: "web1" },
          shadow: { address: "127.0.0.1", port: sshd.port, ssh: sshSettings(sshd) },
        },
      ],
      databases: [
        {
          ...{ engine: "commands", name: "ledger", migrations: ["two"] },
          commands: {
            check: ["test", "-e", join(lab.folder, "ledger")],
            copy: shell('cp "$1/ledger" "$1/test"'),
            safetyCopy: shell('cp "$1/ledger" "$DOPPEL_COPY_FILE"'),
            rehearse: shell('cmp "$1/ledger" "$DOPPEL_COPY_FILE"'),
            // Bears being run again, as the contract asks for.
            expand: shell(
              'f="$1/$([ "$DOPPEL_TARGET" = live ] && echo ledger || echo test)"; grep -q two "$f" || cat "$DOPPEL_MIGRATION_FILE" >> "$f"',
            ),
            restore: shell('cp "$DOPPEL_COPY_FILE" "$1/ledger"'),
          },
          oldVersionChecks: [
            {
              ...{ kind: "command", name: "reads" },
              run: shell('test "$DOPPEL_TARGET" = copy && test ! -e "$1/old-fails" && grep -q one "$1/test"'),
            },
          ],
          point: {
            live: shell('echo live > "$1/pointer"'),
            copy: shell('echo copy > "$1/pointer"'),
            probe: shell('cat "$1/pointer"'),
          },
        },
      ],
      switch: { watch: "0s" },
    });
  });

  afterAll(async () => {
    site?.close();
    await lab?.[Symbol.asyncDispose]();
  });

  const text = (name: string) => readFileSync(join(lab.folder, name), "utf8");
  const run = (command: string, ...words: string[]) =>
    lab.doppel.run("farm", "databases", command, lab.file, ...words);
  const must = async (command: string, ...words: string[]) => {
    const result = await run(command, ...words);
    expect(result).toMatchObject({ code: 0 });
    return result;
  };

  it("are copied, expanded once the old version can live with that, pointed to, restored and cleaned", async () => {
    expect(await run("expand", "ledger")).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/safety copy of ledger.*there is none: run 'doppel farm databases copy/),
    });
    await must("copy");
    expect(text("test")).toBe("one\n");
    expect((await must("copy")).stderr).not.toContain("started:");

    lab.write("old-fails", "");
    const fails = await run("expand", "ledger");
    expect(fails).toMatchObject({ code: 3, stderr: expect.stringContaining("[old-version-fails]") });
    expect([text("test"), text("ledger")]).toEqual(["one\ntwo\n", "one\n"]);
    expect((await run("point", "ledger", "--to", "live")).stderr).toMatch(
      /the live ledger is expanded .*: it is not/,
    );
    rmSync(join(lab.folder, "old-fails"));
    await must("expand", "ledger");
    expect(text("ledger")).toBe("one\ntwo\n");
    expect((await must("expand", "ledger")).stderr).not.toContain("started:");

    await must("point", "ledger", "--to", "live");
    expect(text("pointer")).toBe("live\n");

    const asked = await lab.doppel.runWithoutTerminal("farm", "databases", "restore", lab.file, "ledger");
    expect(asked).toMatchObject({ code: 3, stderr: expect.stringContaining("it is handled by commands") });
    expect(text("ledger")).toBe("one\ntwo\n");
    await must("restore", "ledger", "--yes");
    expect(text("ledger")).toBe("one\n");
    expect(await run("restore", "ledger", "--undo", "--yes")).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("which keeps nothing to go back to [nothing-restored]"),
    });
    // What was restored is not expanded any more, whatever the journal has of the time before.
    expect(await run("point", "ledger", "--to", "live")).toMatchObject({ code: 3 });
    await must("expand", "ledger");
    expect(text("ledger")).toBe("one\ntwo\n");

    const folder = join(lab.doppel.home, "farms", lab.name, "ledger");
    await must("clean", "--yes");
    expect(readdirSync(folder)).toHaveLength(1);
    await must("clean", "--safety-copies", "--yes");
    expect(readdirSync(folder)).toEqual([]);
  });
});

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeManyImages } from "../../fixtures/large-store.ts";
import { sealSlices, writePack } from "../../fixtures/small-images.ts";
import { ImageStore } from "../../src/store/image-store.ts";
import { Doppel, packageRoot, runCommand } from "./doppel.ts";

const IMAGES = 2000;
const PIPE_BYTES = 65_536;

describe("a command whose output is no longer read", () => {
  const doppel = new Doppel();
  const many = new Doppel();

  beforeAll(async () => {
    await makeManyImages(many.home, IMAGES);
    await using store = await ImageStore.open(doppel.home);
    const pack = await writePack(store, "pack", 32);
    await sealSlices(store, "web1:monday", [{ pack, firstFrame: 0, count: 32 }]);
  });
  afterAll(() => {
    doppel[Symbol.dispose]();
    many[Symbol.dispose]();
  });

  /** Runs a line of bash in which `doppel` is the command. */
  function bash(home: string, line: string) {
    const script = `doppel() { "${join(packageRoot, "bin/doppel")}" "$@"; }; ${line}`;
    return runCommand("bash", ["-c", script], { DOPPEL_HOME: home });
  }

  it.each(["images ls", "images ls --json"])(
    "ends quietly in the middle of it: %s | head -1",
    async (words) => {
      const whole = await many.run(...words.split(" "));
      expect(whole.stdout.length).toBeGreaterThan(2 * PIPE_BYTES);
      const { stdout, stderr } = await bash(many.home, `doppel ${words} | head -1; echo "\${PIPESTATUS[@]}"`);
      expect({ stdout, stderr }).toEqual({ stdout: `${whole.stdout.split("\n")[0]}\n141 0\n`, stderr: "" });
    },
  );

  it.each([
    "images ls",
    "images show web1:monday",
    "images show web1:monday --json",
    "images verify web1:monday",
    "images tag web1:monday web1:kept",
    "save web1:monday -o -",
    "vms",
    "--help",
    "--version",
  ])("ends quietly when its reader had gone before: %s", async (words) => {
    // The pipe has no reader once `true` has ended.
    const line = `exec 3> >(true); wait $!; doppel ${words} >&3; echo $?`;
    const { stdout, stderr } = await bash(doppel.home, line);
    expect({ stdout, stderr: stderr.replace(/^save.*\n/gm, "") }).toEqual({ stdout: "141\n", stderr: "" });
  });

  it("does to the end what it had begun, and tells a full disk from a reader that has gone", async () => {
    const line = "exec 3> >(true); wait $!; doppel images tag web1:monday web1:done >&3";
    expect((await bash(doppel.home, line)).code).toBe(141);
    expect(await doppel.json("images", "show", "web1:done")).toMatchObject({ host: expect.anything() });
    const full = await bash(doppel.home, "doppel images ls > /dev/full");
    expect(full).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^doppel: standard output.*\[ENOSPC\]\n$/),
    });
  });

  it("goes on when nobody reads its errors", async () => {
    const file = join(doppel.home, "disk.raw");
    writeFileSync(file, Buffer.alloc(1024 * 1024, "a disk"));
    const line = `exec 3> >(true); wait $!; doppel import ${file} --name imported --no-inspect 2>&3`;
    expect(await bash(doppel.home, line)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("imported"),
    });
    const said = await doppel.run("import", file, "--name", "imported", "--no-inspect");
    expect(said.stderr).toContain("consistency grade");
  });
});

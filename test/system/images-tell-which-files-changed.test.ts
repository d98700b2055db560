import {
  appendFileSync,
  chmodSync,
  chownSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DiskImage } from "../../fixtures/disks.ts";
import { foreignDisk } from "../../fixtures/foreign-disk.ts";
import { type CommandResult, Doppel, possible } from "./doppel.ts";

const MIB = 1024 * 1024;
/** A name that a terminal would obey, that looks like options, and has what separates fields and records of lists. */
const EVIL = "-rf $(touch x) \u001b[31m//\n\"'\\";

describe.skipIf(!possible)("doppel images diff --files", () => {
  const doppel = new Doppel();
  let disk: DiskImage;
  let lines: CommandResult;

  beforeAll(async () => {
    disk = foreignDisk(11);
    await onRoot((root) => {
      for (const name of ["same", "touched", "rewritten", "grown", "mode", "owner", "gone"])
        writeFileSync(join(root, "home/ann", name), `what ${name} was\n`);
      symlinkSync("/etc/hostname", join(root, "home/ann/link"));
      writeFileSync(join(root, "home/ann", EVIL.replace("//", "")), "1");
    });
    await doppel.json("import", disk.path, "--name", "before", "--no-inspect");
    await onRoot((root) => {
      const at = (name: string) => join(root, "home/ann", name);
      utimesSync(at("touched"), 1, 1);
      writeFileSync(at("rewritten"), "WHAT rewritten was\n");
      appendFileSync(at("grown"), "more");
      chmodSync(at("mode"), 0o4755);
      chownSync(at("owner"), 33, 44);
      rmSync(at("gone"));
      rmSync(at("link"));
      symlinkSync("/etc/shadow", at("link"));
      writeFileSync(at("new"), "new");
      writeFileSync(at(EVIL.replace("//", "")), "2");
    });
    await doppel.json("import", disk.path, "--name", "after", "--no-inspect");
    lines = await doppel.run("images", "diff", "before", "after", "--files", "--json");
  });
  afterAll(() => {
    disk?.[Symbol.dispose]();
    doppel[Symbol.dispose]();
  });

  async function onRoot(work: (root: string) => void): Promise<void> {
    const loop = disk.attach({ offsetBytes: MIB, lengthBytes: 60 * MIB });
    const root = disk.mount(loop);
    work(root);
    disk.unmount(root);
    disk.detach(loop);
  }

  it("names each file that came, went or changed, and what of it did; none that was only touched", () => {
    expect(lines.code, lines.stderr).toBe(0);
    const found = lines.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { change: string; path: string; what?: string[] })
      .map(({ change, path, what = [] }) => `${change} ${path} ${what.join()}`);
    expect(found).toEqual([
      `changed /home/ann/${EVIL.replace("//", "")} content`,
      "removed /home/ann/gone ",
      "changed /home/ann/grown content",
      "changed /home/ann/link target",
      "changed /home/ann/mode mode",
      "added /home/ann/new ",
      "changed /home/ann/owner owner",
      "changed /home/ann/rewritten content",
    ]);
  });

  it("tells owner and mode as they were and are", () => {
    const of = (path: string) =>
      JSON.parse(lines.stdout.split("\n").find((line) => line.includes(`"${path}"`)) ?? "{}");
    expect(of("/home/ann/mode")).toMatchObject({ before: { mode: "0644" }, after: { mode: "4755" } });
    expect(of("/home/ann/owner")).toMatchObject({
      before: { uid: 0, gid: 0 },
      after: { uid: 33, gid: 44, type: "file" },
    });
    expect(of("/home/ann/link")).toMatchObject({
      before: { target: "/etc/hostname" },
      after: { target: "/etc/shadow" },
    });
    expect(lines.stderr).toContain("1 added, 1 removed, 6 changed");
  });
});

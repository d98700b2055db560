import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Doppel, must, possible, runCommand, Source } from "./doppel.ts";

describe.skipIf(!possible)("an archive", () => {
  const doppel = new Doppel();
  const folder = mkdtempSync(join(tmpdir(), "doppel-archive-"));
  const tar = join(folder, "images.tar");
  let source: Source;
  let digest: string;

  beforeAll(async () => {
    source = await Source.start(20);
    digest = String((await doppel.json(...source.capture, "--name", "web1:monday")).digest);
    await doppel.json(...source.capture, "--name", "web1:tuesday");
    await doppel.json("save", "web1:monday", "web1:tuesday", "-o", tar);
  });

  afterAll(async () => {
    await source?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("holds what its images share once, and the same bytes whenever it is written", async () => {
    const names = (await must("tar", "tf", tar)).trim().split("\n");
    expect(new Set(names).size).toBe(names.length);
    expect(names.slice(0, 2)).toEqual(["oci-layout", "index.json"]);
    expect(readFileSync(tar).length).toBeLessThan(21.5 * 1024 * 1024);
    const again = join(folder, "again.tar");
    await doppel.json("save", "web1:monday", "web1:tuesday", "-o", again);
    expect(readFileSync(again).equals(readFileSync(tar))).toBe(true);
  });

  it("is an OCI archive for other programs", async () => {
    expect(await must("skopeo", "inspect", "--raw", `oci-archive:${tar}:web1:monday`)).toContain(
      "application/vnd.doppel.image.v1",
    );
  });

  it("gives the same images to another store, through a pipe too; the second time nothing is new", async () => {
    using other = new Doppel();
    const report = await other.json("load", tar);
    expect(report.images).toContainEqual({ ref: "web1:monday", digest });
    expect((await other.run("images", "verify", "web1:tuesday")).code).toBe(0);
    expect(await other.json("load", tar)).toMatchObject({ newBlobs: 0, newBytes: 0 });
    using third = new Doppel();
    const doppelCommand = join(import.meta.dirname, "../../bin/doppel");
    const pipe = `DOPPEL_HOME=${doppel.home} ${doppelCommand} save web1:monday -o - | DOPPEL_HOME=${third.home} ${doppelCommand} load -`;
    expect((await runCommand("bash", ["-c", pipe])).code).toBe(0);
    expect((await third.run("images", "verify", "web1:monday")).code).toBe(0);
  });

  it("is not written over what is there, unless asked", async () => {
    const result = await doppel.run("save", "web1:monday", "-o", tar);
    expect(result).toMatchObject({ code: 3, stderr: expect.stringContaining("[file-exists]") });
  });

  it("that is cut short, or has another bit, is refused; nothing of it is visible", async () => {
    const bad = join(folder, "bad.tar");
    const good = readFileSync(tar);
    for (const spoil of [
      () => truncateSync(bad, good.length / 2),
      () => {
        const copy = Buffer.from(good);
        copy[10_000_000] = (copy[10_000_000] ?? 0) ^ 1;
        writeFileSync(bad, copy);
      },
    ]) {
      writeFileSync(bad, good);
      spoil();
      using other = new Doppel();
      const result = await other.run("load", bad);
      expect(result).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/\[(archive-invalid|blob-differs)\]/),
      });
      expect(await other.json("images", "ls")).toEqual([]);
    }
  });

  it("with a path that leads out of it, a link, or no image, is refused", async () => {
    const work = join(folder, "hostile");
    mkdirSync(join(work, "in"), { recursive: true });
    writeFileSync(join(work, "outside"), "x");
    const out = ["-C", join(work, "in"), "-P", "-cf", join(work, "out.tar"), "../outside"];
    await must("tar", ...out);
    await must("ln", "-s", "/etc/passwd", join(work, "in/index.json"));
    await must("tar", "-C", join(work, "in"), "-cf", join(work, "link.tar"), "index.json");
    const name = createHash("sha256").update("x").digest("hex");
    mkdirSync(join(work, "in2/blobs/sha256"), { recursive: true });
    writeFileSync(join(work, "in2/blobs/sha256", name), "x");
    await must("tar", "-C", join(work, "in2"), "-cf", join(work, "none.tar"), "blobs");
    writeFileSync(join(work, "text.tar"), "this is no tar at all");
    for (const each of ["out", "link", "none", "text"]) {
      using other = new Doppel();
      const result = await other.run("load", join(work, `${each}.tar`));
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[archive-invalid]") });
    }
  });

  it("of a damaged store is not written", async () => {
    using other = new Doppel();
    await other.json("load", tar);
    const shown = await other.json("images", "show", "web1:monday");
    const { layers } = shown.manifest as { layers: { digest: string; size: number }[] };
    const pack = layers.find(({ size }) => size > 1_000_000)?.digest.slice("sha256:".length) ?? "none";
    const path = join(other.home, "store/blobs/sha256", pack);
    const bytes = readFileSync(path);
    bytes[5000] = (bytes[5000] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const result = await other.run("save", "web1:monday", "-o", join(folder, "damaged.tar"));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[blob-differs]") });
    expect((await runCommand("ls", [folder])).stdout).not.toContain("damaged");
  });
});

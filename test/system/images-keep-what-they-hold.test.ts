import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Doppel, must, possible, Source } from "./doppel.ts";

describe.skipIf(!possible)("an image", () => {
  let source: Source;
  let doppel: Doppel;

  beforeAll(async () => {
    source = await Source.start(80);
  });
  afterAll(async () => {
    await source[Symbol.asyncDispose]();
  });

  /** A store with the disk captured under each of the names. */
  async function captured(...names: string[]): Promise<Doppel> {
    doppel = new Doppel();
    for (const name of names) await doppel.json(...source.capture, "--name", name);
    return doppel;
  }

  async function packsOf(name: string): Promise<string[]> {
    const { manifest } = await doppel.json("images", "show", name);
    const { layers } = manifest as { layers: { mediaType: string; digest: string }[] };
    return layers.filter(({ mediaType }) => mediaType.includes("pack")).map(({ digest }) => digest);
  }

  function blobPath(digest: string): string {
    return join(doppel.home, "store/blobs/sha256", digest.replace("sha256:", ""));
  }

  it("whose pack is truncated or missing: verify names pack and clusters (exit 4), export writes nothing", async () => {
    using _ = await captured("disk");
    const [pack = "", second = ""] = await packsOf("disk");
    const path = blobPath(pack);
    const whole = readFileSync(path);
    truncateSync(path, whole.length - 100_000);
    const truncated = await doppel.run("images", "verify", "disk", "--json");
    expect(truncated.code).toBe(4);
    const [finding] = JSON.parse(truncated.stdout).findings;
    expect(finding).toMatchObject({ blob: pack, hurts: [{ cluster: 0, offsetBytes: 0 }] });
    const file = join(source.image.folder, "bad.qcow2");
    expect(await doppel.run("export", "disk", "-o", file)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(pack),
    });
    rmSync(path);
    renameSync(blobPath(second), `${blobPath(second)}.away`);
    const missing = await doppel.run("images", "verify", "disk");
    expect(missing).toMatchObject({ code: 4, stdout: expect.stringContaining(pack) });
    expect(missing.stdout).toContain(second);
    expect(await doppel.run("export", "disk", "-o", file)).toMatchObject({ code: 1 });
    expect(readdirSync(source.image.folder)).toEqual(["disk.img"]);
  });

  it("shares packs with one that has the same content; rm frees what no other needs", async () => {
    using _ = await captured("one", "two");
    expect(await packsOf("one")).toEqual(await packsOf("two"));
    const dry = await doppel.json("images", "rm", "one", "--grace", "0s", "--dry-run");
    expect(dry).toMatchObject({ dryRun: true, images: [expect.stringMatching(/^sha256:/)] });
    expect(await doppel.json("images", "ls")).toHaveLength(2);
    const first = await doppel.json("images", "rm", "one", "--grace", "0s");
    expect(first.freedBytes).toBe(dry.freedBytes);
    expect(first.freedBytes).toBeLessThan(1_000_000);
    expect((await doppel.run("images", "verify", "two")).code).toBe(0);
    const later = await doppel.run("images", "rm", "two");
    expect(later).toMatchObject({ code: 0, stdout: expect.stringMatching(/80.* lie in quarantine/) });
    const second = await doppel.json("images", "gc", "--grace", "0s");
    expect(second.freedBytes).toBeGreaterThan(80 * 1024 * 1024);
    expect(readdirSync(join(doppel.home, "store/blobs/sha256"))).toEqual([]);
    const unknown = await doppel.run("images", "rm", "two");
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining("image-unknown") });
  });

  it("is copied by skopeo to another layout and back, unchanged; doppel verifies what came", async () => {
    using _ = await captured("disk");
    const layout = join(doppel.home, "store");
    using other = new Doppel();
    mkdirSync(other.home, { recursive: true });
    const copy = join(other.home, "store");
    await must("skopeo", "copy", "-q", `oci:${layout}:disk:latest`, `oci:${copy}:disk:latest`);
    const { digest } = await doppel.json("images", "show", "disk");
    expect(await other.json("images", "show", "disk")).toMatchObject({ digest });
    expect((await other.run("images", "verify", "disk")).code).toBe(0);
  });

  it("has blobs whose names are their digests, and files that only their owner reads", async () => {
    using _ = await captured("disk");
    const folder = join(doppel.home, "store/blobs/sha256");
    for (const name of readdirSync(folder)) {
      expect(
        createHash("sha256")
          .update(readFileSync(join(folder, name)))
          .digest("hex"),
      ).toBe(name);
      expect(statSync(join(folder, name)).mode & 0o077).toBe(0);
    }
    expect(statSync(join(doppel.home, "store")).mode & 0o077).toBe(0);
    expect(statSync(join(doppel.home, "catalog.db")).mode & 0o077).toBe(0);
  });

  it("is listed and shown to people with what matters", async () => {
    using _ = await captured("web1:v1");
    const { stdout: list } = await doppel.run("images", "ls");
    expect(list).toMatch(/^NAME/);
    expect(list).toMatch(/web1 +v1 .*offline.*80/);
    const { stdout: shown } = await doppel.run("images", "show", "web1:v1");
    for (const fact of ["web1:v1", "offline", "80.0 MiB", /sha256:[0-9a-f]{64}/]) expect(shown).toMatch(fact);
    const inspected = await doppel.run("inspect", "web1:v1");
    expect(inspected).toMatchObject({ code: 0, stdout: expect.stringMatching(/kernel|os/i) });
  });

  it("can have several names, which move; lists can be filtered by them", async () => {
    using _ = await captured("one", "two");
    const [one, two] = await Promise.all(["one", "two"].map((name) => doppel.json("images", "show", name)));
    expect(await doppel.json("images", "tag", "one", "site/web:best")).toMatchObject({ before: null });
    expect(await doppel.json("images", "tag", "two", "site/web:best")).toMatchObject({
      digest: two?.digest,
      before: one?.digest,
    });
    const list = async (...filters: string[]) => {
      const words = filters.flatMap((filter) => ["--filter", filter]);
      return ((await doppel.json("images", "ls", ...words)) as unknown as { name: string }[]).map(
        ({ name }) => name,
      );
    };
    expect(await list("name=site/*")).toEqual(["site/web"]);
    expect(await list("tag=latest", "captured<1h")).toHaveLength(2);
    expect((await doppel.run("images", "ls", "--filter", "colour=red")).code).toBe(2);
    await doppel.json("images", "untag", "site/web:best");
    expect(await list("name=site/*")).toEqual([]);
    expect((await doppel.run("images", "verify", "two")).code).toBe(0);
  });
});

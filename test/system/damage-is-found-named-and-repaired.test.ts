import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Registry } from "../../fixtures/registry.ts";
import { Doppel, must, possible, Source } from "./doppel.ts";

interface Hurt {
  image: string;
  disk: string;
  cluster: number;
  count: number;
}
interface Finding {
  blob: string;
  frame?: number;
  message: string;
  images: { digest: string; names: string[] }[];
  hurts: Hurt[];
}
interface Report {
  frames: number;
  bytes: number;
  blobs: number;
  findings: Finding[];
  sample: { frameCount: number; seed: number } | null;
  repaired: { blob: string; from: string }[];
}

describe.skipIf(!possible)("damage of an image", () => {
  const doppel = new Doppel();
  const work = mkdtempSync(join(tmpdir(), "doppel-damage-"));
  let registry: Registry;
  let source: Source;
  let digest: string;
  let child: string;
  let packs: string[];
  const spoilt = new Map<string, Buffer>();

  beforeAll(async () => {
    [registry, source] = await Promise.all([Registry.start(), Source.start(80)]);
    digest = String((await doppel.json(...source.capture, "--name", "web1:monday")).digest);
    await doppel.json("push", "web1:monday", `${registry.host}/web1:monday`);
    child = await makeChild();
    await doppel.json("images", "tag", "web1:monday", "base:stable");
    packs = await packsOf("web1:monday");
  });

  afterEach(() => {
    for (const [path, good] of spoilt) writeFileSync(path, good);
    spoilt.clear();
  });

  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    await source?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(work, { recursive: true, force: true });
  });

  /** A child of the image that reads all but one of its clusters. */
  async function makeChild(): Promise<string> {
    const socket = join(work, "nbd.sock");
    const serving = doppel.start(
      "serve",
      "web1:monday",
      "--writable",
      "--name",
      "web1:changed",
      "--socket",
      socket,
    );
    const uri = `nbd+unix:///?socket=${socket}`;
    // It prints its addresses once they can be used.
    if (serving.child.stdout) await once(serving.child.stdout, "data");
    await must("qemu-io", "-f", "raw", "-c", "write -P 7 256k 64k", uri);
    serving.child.kill("SIGINT");
    await serving.ended;
    return String((await doppel.json("images", "show", "web1:changed")).digest);
  }

  async function packsOf(name: string): Promise<string[]> {
    const { manifest } = await doppel.json("images", "show", name);
    const { layers } = manifest as { layers: { mediaType: string; digest: string }[] };
    return layers.filter(({ mediaType }) => mediaType.includes("pack")).map((layer) => layer.digest);
  }

  const blobPath = (blob: string) => join(doppel.home, "store/blobs/sha256", blob.replace("sha256:", ""));

  /** Changes bytes of a file until the test's end. */
  function spoil(path: string, ...offsets: number[]): void {
    const good = readFileSync(path);
    spoilt.set(path, good);
    const bad = Buffer.from(good);
    for (const offset of offsets) bad[offset] = (bad[offset] ?? 0) ^ 0xff;
    writeFileSync(path, bad);
  }

  async function verify(...words: string[]): Promise<Report & { code: number }> {
    const { code, stdout, stderr } = await doppel.run("images", "verify", ...words, "--json");
    if (stdout === "") throw new Error(stderr);
    return { ...JSON.parse(stdout), code };
  }

  async function repair(...words: string[]): Promise<Report & { code: number }> {
    const { code, stdout, stderr } = await doppel.run("images", "repair", ...words, "--json");
    if (stdout === "") throw new Error(stderr);
    return { ...JSON.parse(stdout), code };
  }

  it("in a pack that several images share names all of them, and the clusters of each that it hurts", async () => {
    // Frames 4 and 9; the child has another cluster in the place of frame 4.
    spoil(blobPath(packs[0] ?? ""), 4 * 65_550 + 100, 9 * 65_550 + 100);
    const { code, findings } = await verify("web1:monday");
    expect(code).toBe(4);
    expect(findings.map(({ blob, frame }) => ({ blob, frame }))).toEqual([
      { blob: packs[0], frame: 4 },
      { blob: packs[0], frame: 9 },
    ]);
    for (const { images } of findings)
      expect(images).toEqual(
        expect.arrayContaining([
          { digest, names: ["base:stable", "web1:monday"] },
          { digest: child, names: ["web1:changed"] },
        ]),
      );
    const hurt = (finding: Finding | undefined) =>
      finding?.hurts.map(({ image, cluster }) => ({ image, cluster }));
    expect(hurt(findings[0])).toEqual([{ image: digest, cluster: 4 }]);
    expect(hurt(findings[1])).toEqual(
      expect.arrayContaining([
        { image: digest, cluster: 9 },
        { image: child, cluster: 9 },
      ]),
    );
    const said = await doppel.run("images", "verify", "web1:changed");
    expect(said.stdout).toContain("in base:stable, web1:monday");
    expect(said.stdout).toContain("in web1:changed, where no cluster uses it");
  });

  it("is found by --all, which reads what images share once", async () => {
    const whole = await verify("--all");
    expect(whole).toMatchObject({ code: 0, findings: [] });
    const one = await verify("web1:monday");
    expect(whole.bytes - one.bytes).toBeLessThan(1024 * 1024);
    spoil(blobPath(packs[1] ?? ""), 100);
    const { code, findings } = await verify("--all");
    expect(code).toBe(4);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ blob: packs[1], frame: 0 });
  });

  it("of manifest or config is a finding too, and does not keep --all from the rest", async () => {
    spoil(blobPath(child), 20);
    spoil(blobPath(packs[0] ?? ""), 100);
    const { code, findings } = await verify("--all");
    expect(code).toBe(4);
    expect(new Set(findings.map(({ blob }) => blob))).toEqual(new Set([child, packs[0]]));
    expect(await verify("web1:changed")).toMatchObject({ code: 4, findings: [{ blob: child }] });
  });

  it("is looked for in a share of the frames: the same ones for the same seed, some of every pack", async () => {
    const sampled = await verify("web1:monday", "--sample", "5%", "--seed", "7");
    expect(sampled).toMatchObject({ code: 0, sample: { share: 0.05, seed: 7, frameCount: 1280 } });
    expect(sampled.frames).toBeGreaterThanOrEqual(64);
    expect(sampled.frames).toBeLessThanOrEqual(96);
    const said = await doppel.run("images", "verify", "web1:monday", "--sample", "5%");
    expect(said.stdout).toMatch(/a sample: \d+ of 1280 frames \(5 % of the frames, seed \d+\)/);
    // All frames of one pack are bad: any sample meets it.
    const every = Array.from({ length: 900 }, (_, frame) => frame * 65_550 + 30_000);
    spoil(blobPath(packs[0] ?? ""), ...every);
    const first = await verify("web1:monday", "--sample", "5%", "--seed", "7");
    const again = await verify("web1:monday", "--sample", "5%", "--seed", "7");
    const other = await verify("web1:monday", "--sample", "5%", "--seed", "8");
    const frames = ({ findings }: Report) => findings.map(({ frame }) => frame);
    expect(first.code).toBe(4);
    expect(frames(again)).toEqual(frames(first));
    expect(frames(other)).not.toEqual(frames(first));
    expect((await doppel.run("images", "verify", "web1:monday", "--sample", "lots")).code).toBe(2);
  });

  it("is found in a registry without keeping anything here", async () => {
    const remote = `${registry.host}/web1:monday`;
    using empty = new Doppel();
    const whole = JSON.parse((await empty.run("images", "verify", remote, "--json")).stdout);
    expect(whole).toMatchObject({ digest, frames: 1280, findings: [] });
    const path = registry.blobPath(packs[0] ?? "");
    spoil(path, 9 * 65_550 + 100);
    const bad = await verify(remote);
    expect(bad).toMatchObject({ code: 4, findings: [{ blob: packs[0], frame: 9, hurts: [{ cluster: 9 }] }] });
    expect(bad.findings[0]?.images[0]?.names).toEqual([remote]);
    const sampled = await verify(remote, "--sample", "10%", "--seed", "1");
    expect(sampled.bytes).toBeLessThan(12 * 1024 * 1024);
    truncateSync(path, 1000);
    expect(await verify(remote)).toMatchObject({
      code: 4,
      findings: [{ blob: packs[0], hurts: [{ cluster: 0 }] }],
    });
    rmSync(path);
    expect(await verify(remote)).toMatchObject({ code: 4, findings: [{ blob: packs[0] }] });
    const unknown = await doppel.run("images", "verify", `${registry.host}/web1:sunday`);
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-unknown]") });
  });

  it("is repaired from a registry: packs, maps, configs, manifests; a dry run changes nothing", async () => {
    const { manifest } = await doppel.json("images", "show", "web1:monday");
    const { layers, config } = manifest as { layers: { digest: string }[]; config: { digest: string } };
    const map = layers[0]?.digest ?? "";
    spoil(blobPath(packs[0] ?? ""), 100);
    spoil(blobPath(config.digest), 30);
    spoil(blobPath(map), 40);
    spoil(blobPath(digest), 50);
    spoil(blobPath(packs[1] ?? ""), 5);
    rmSync(blobPath(packs[1] ?? ""));
    const from = ["--from", `${registry.host}/web1`];
    const before = statSync(blobPath(packs[0] ?? "")).mtimeMs;
    const dry = await repair("web1:monday", ...from, "--dry-run");
    expect(dry).toMatchObject({ code: 0, repaired: [{ blob: digest, from: `${registry.host}/web1` }] });
    expect(statSync(blobPath(packs[0] ?? "")).mtimeMs).toBe(before);
    const done = await repair("web1:monday", ...from);
    expect(done).toMatchObject({ code: 0, findings: [] });
    expect(new Set(done.repaired.map(({ blob }) => blob))).toEqual(
      new Set([digest, config.digest, map, packs[0], packs[1]]),
    );
    expect((await verify("--all")).code).toBe(0);
  });

  it("is repaired out of frames that other packs hold, when they are the same bytes", async () => {
    using other = new Doppel();
    await other.json(...source.capture, "--name", "all");
    // Another image of the same beginning of the disk, in packs of its own.
    const shorter = join(work, "shorter.img");
    await must("dd", `if=${source.image.path}`, `of=${shorter}`, "bs=1M", "count=4", "status=none");
    const loop = (await must("losetup", "--find", "--show", "--read-only", shorter)).trim();
    try {
      const capture = source.capture.map((word) => (word === source.disk ? loop : word));
      await other.json(...capture, "--name", "part");
    } finally {
      await must("losetup", "--detach", loop);
    }
    const shown = await other.json("images", "show", "all");
    const { layers } = shown.manifest as { layers: { mediaType: string; digest: string }[] };
    const [pack = ""] = layers
      .filter(({ mediaType }) => mediaType.includes("pack"))
      .map((layer) => layer.digest);
    const path = join(other.home, "store/blobs/sha256", pack.replace("sha256:", ""));
    spoil(path, 3 * 65_550 + 100, 20 * 65_550 + 9);
    const dry = await other.run("images", "repair", "all", "--dry-run");
    expect(dry).toMatchObject({ code: 0, stdout: expect.stringContaining("would be repaired from frames") });
    expect((await other.run("images", "verify", "all")).code).toBe(4);
    const done = await other.run("images", "repair", "all", "--from", "part");
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining("is whole again") });
    spoil(path, 3 * 65_550 + 100, 1000 * 65_550 + 9);
    const beyond = await other.run("images", "repair", "all");
    expect(beyond).toMatchObject({ code: 4, stdout: expect.stringContaining("cannot be repaired") });
    expect(beyond.stdout).toContain("hurts disk");
    spoilt.clear();
  });

  it("that nobody has a sound blob for stays, and is named (exit 4)", async () => {
    spoil(blobPath(packs[0] ?? ""), 100);
    spoil(registry.blobPath(packs[0] ?? ""), 200);
    const bad = readFileSync(blobPath(packs[0] ?? ""));
    const result = await repair("web1:monday", "--from", `${registry.host}/web1`);
    expect(result).toMatchObject({ code: 4, repaired: [], findings: [{ blob: packs[0], frame: 0 }] });
    expect(readFileSync(blobPath(packs[0] ?? "")).equals(bad)).toBe(true);
  });
});

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { Registry } from "../../fixtures/registry.ts";
import { sealSlices, writePack } from "../../fixtures/small-images.ts";
import { listInstances } from "../../src/freezer/instance.ts";
import type { Manifest } from "../../src/image/manifest.ts";
import type { TaggedImage } from "../../src/store/catalog.ts";
import { ImageStore } from "../../src/store/image-store.ts";
import { Doppel, must, packageRoot, possible, type RunningCommand, runCommand, Source } from "./doppel.ts";

const SEED = Number(process.env.DOPPEL_SEED ?? Date.now() % 1_000_000);
const KILLS = Number(process.env.DOPPEL_KILLS ?? 200);
const AT_ONCE = 6;
const LONGEST = ["capture", "import", "edit"];
/** Of those that run at once; the others are what the killed ones have for company. */
const KILLED_AT_ONCE = 5;
/** What makes that there is something to do for a command that no kill has met by chance. */
const NEEDED: Record<string, string[]> = { discard: ["import", "thaw"], undo: ["promote"] };

/** Numbers below one that follow from a seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = randomFrom(SEED);
const below = (end: number) => Math.floor(random() * end);

describe.skipIf(!possible || !Registry.available())(`a store of whose commands ${KILLS} are killed`, () => {
  const doppel = new Doppel();
  const scratch = mkdtempSync(join(tmpdir(), "doppel-kills-"));
  const tar = join(scratch, "loaded.tar");
  /** Names in libvirt, which others use as well. */
  const machine = (n: number) => `doppel-killed-${process.pid}-${n % 2}`;
  let sockets = 0;
  let registry: Registry;
  let source: Source;

  /** Commands by name; what they name may be gone by then. Each is killed at moments of its own. */
  const operations: Record<string, (n: number) => string[]> = {
    capture: (n) => [...source.capture, "--name", `captured:${n % 3}`],
    push: (n) => ["push", `kept:${n % 4}`, `${registry.host}/pushed:${n % 3}`],
    pushVolatile: (n) => ["push", `volatile:${n % 4}`, `${registry.host}/volatile:${n % 3}`],
    pull: (n) => ["pull", `${registry.host}/site:${n % 3}`, `pulled:${n % 3}`],
    load: () => ["load", tar],
    import: (n) => ["import", source.image.path, "--name", `imported:${n % 2}`, "--no-inspect"],
    thaw: (n) => ["thaw", `imported:${n % 2}`, "--name", machine(n), "--memory", "64M", "--cpus", "1"],
    discard: (n) => ["discard", machine(n)],
    // What a conversion is for the store: the image as a block device, and a child of what was written to it.
    edit: (n) => [
      ...["serve", `kept:${n % 4}`, "--writable", "--name", `edited:${n % 2}`],
      ...["--socket", join(scratch, `${sockets++}.sock`)],
    ],
    tag: (n) => ["images", "tag", `volatile:${n % 4}`, `named:${n % 2}`],
    remove: (n) => ["images", "rm", REMOVABLE[n % REMOVABLE.length] ?? "", "--grace", "0s"],
    promote: (n) => ["images", "promote", `kept:${n % 4}`, "kept:stable"],
    undo: () => ["images", "promote", "--undo", "kept:stable"],
    collect: () => ["images", "gc", "--grace", "0s"],
    compact: () => ["images", "compact", "--all", "--published", "--grace", "0s"],
    prune: () => ["images", "prune", "volatile", "pulled", "--keep-last", "2", "--grace", "0s"],
    collectLater: () => ["images", "gc", "--grace", "1s"],
  };
  const REMOVABLE = [
    ...["volatile:0", "volatile:1", "volatile:2", "volatile:3", "named:0", "named:1", "loaded:0", "loaded:1"],
    ...["captured:0", "captured:1", "captured:2", "pulled:0", "pulled:1", "pulled:2"],
    ...["imported:0", "imported:1", "edited:0", "edited:1"],
  ];
  const CHOICES = [
    ...Object.keys(operations).flatMap((name) => (LONGEST.includes(name) ? [name] : [name, name])),
    ...["remove", "remove", "collect"],
  ];

  beforeAll(async () => {
    [registry, source] = await Promise.all([Registry.start(), Source.start(1), startLibvirt()]);
    {
      await using store = await ImageStore.open(doppel.home);
      const pack = await writePack(store, "kept", 32);
      let parent: string | undefined;
      for (let n = 0; n < 4; n++)
        parent = (
          await sealSlices(
            store,
            `kept:${n}`,
            [{ pack, firstFrame: 8 * n, count: 8 }],
            parent ? { parent } : {},
          )
        ).digest;
      for (let n = 0; n < 3; n++) {
        const own = await writePack(store, `remote ${n}`, 8);
        await sealSlices(store, `site:${n}`, [
          { pack: own, firstFrame: 0, count: 8 },
          { pack, firstFrame: 0, count: 4 },
        ]);
        await doppel.json("push", `site:${n}`, `${registry.host}/site:${n}`);
        store.untag({ name: "site", tag: String(n) });
      }
      for (let n = 0; n < 2; n++)
        await sealSlices(store, `loaded:${n}`, [{ pack, firstFrame: n, count: 20 }]);
    }
    await doppel.json("images", "channel", "kept:stable", "--require", "verified");
    for (let n = 0; n < 4; n++) await doppel.json("images", "verify", `kept:${n}`);
    for (let n = 0; n < 2; n++) await doppel.json("images", "promote", `kept:${n}`, "kept:stable");
    await doppel.json("save", "loaded:0", "loaded:1", "-o", tar);
    await refill(0);
  });

  afterAll(async () => {
    for (const name of [machine(0), machine(1)])
      for (const words of [["destroy"], ["undefine", "--nvram"]])
        await runCommand("virsh", ["-c", "qemu:///system", ...words, name]);
    await source?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(scratch, { recursive: true, force: true });
  });

  /** New images that can be removed; some of their packs were removed before, some use those of images that stay. */
  async function refill(round: number): Promise<void> {
    await using store = await ImageStore.open(doppel.home);
    const kept = await writePack(store, "kept", 32);
    for (let n = 0; n < 4; n++) {
      const pack = await writePack(store, `volatile ${(round + n) % 3}`, 16);
      const slices = [
        { pack, firstFrame: n, count: 6 },
        { pack: kept, firstFrame: n, count: 3 },
      ];
      await sealSlices(store, `volatile:${n}`, slices);
    }
  }

  /** Runs a command once to its end, and tells how many steps it has. */
  async function measure(name: string): Promise<number> {
    const countTo = join(scratch, name);
    const { code, stderr } = await start(name, 0, { COUNT_TO: countTo }).ended;
    expect(code, `${name}: ${stderr}`).toBe(0);
    return Number(readFileSync(countTo, "utf8"));
  }

  function start(name: string, n: number, env: Record<string, string>) {
    const hook = `--import=${join(packageRoot, "fixtures/kill-at.mjs")}`;
    const words = operations[name]?.(n) ?? [];
    const running = doppel.startAs({ NODE_OPTIONS: hook, ...env }, ...words);
    if (name === "edit") running.child.stdout?.once("data", () => write(running, words.at(-1) ?? "", n));
    return running;
  }

  /** Writes to a served disk and ends the serving; it may have been killed by then. */
  async function write({ child }: RunningCommand, socket: string, n: number): Promise<void> {
    await runCommand("qemu-io", [
      "-f",
      "raw",
      "-c",
      `write -P ${n + 1} 0 64k`,
      `nbd+unix:///?socket=${socket}`,
    ]);
    child.kill("SIGINT");
  }

  /** Discards what was thawed; a name whose thaw was killed can be used again. */
  async function removeMachines(): Promise<void> {
    await doppel.json("import", source.image.path, "--name", "imported:0", "--no-inspect");
    for (const name of readdirSync(join(doppel.home, "instances"))) {
      if (!(await listInstances(doppel.home)).some((instance) => instance.name === name))
        await doppel.json("thaw", "imported:0", "--name", name, "--memory", "64M", "--cpus", "1");
      await doppel.json("discard", name);
    }
    expect(readdirSync(join(doppel.home, "instances"))).toEqual([]);
    const domains = (await must("virsh", "-q", "-c", "qemu:///system", "list", "--all", "--name")).split(
      "\n",
    );
    for (const n of [0, 1]) expect(domains).not.toContain(machine(n));
  }

  /** Digests of the blobs that index.json leads to, read as any client of OCI layouts would. */
  function referenced(): Set<string> {
    const read = <T>(digest: string): T => JSON.parse(readFileSync(blobPath(digest), "utf8"));
    const index: { manifests: { digest: string }[] } = JSON.parse(
      readFileSync(join(doppel.home, "store/index.json"), "utf8"),
    );
    const found = new Set<string>();
    for (const { digest } of index.manifests) {
      const { config, layers } = read<Manifest>(digest);
      for (const blob of [{ digest }, config, ...layers]) found.add(blob.digest);
    }
    return found;
  }

  function blobPath(digest: string): string {
    return join(doppel.home, "store/blobs/sha256", digest.replace("sha256:", ""));
  }

  /** The catalog opens, and everything that it and index.json name is there, with its size. */
  async function expectSound(): Promise<void> {
    await using store = await ImageStore.open(doppel.home);
    expect(store.catalog.database.pragma("integrity_check", { simple: true })).toBe("ok");
    for (const digest of store.catalog.digests()) {
      const { manifest } = await store.load(digest);
      for (const { digest: blob, size } of [manifest.config, ...manifest.layers])
        expect(statSync(blobPath(blob), { throwIfNoEntry: false })?.size, blob).toBe(size);
    }
    for (const { name, imageDigest } of await listInstances(doppel.home)) {
      expect(store.catalog.has(store.catalog.currentDigest(imageDigest)), `the image of ${name}`).toBe(true);
      const base = `${imageDigest.replace("sha256:", "")}-0.qcow2`;
      expect(existsSync(join(doppel.home, "cache", base)), `the base of ${name}`).toBe(true);
    }
    for (const digest of referenced()) expect(existsSync(blobPath(digest)), digest).toBe(true);
    const kept = store.list().filter(({ name }) => name === "kept");
    expect(kept.map(({ tag }) => tag).sort()).toEqual(["0", "1", "2", "3", "stable"]);
  }

  it(`stays sound (seed ${SEED})`, async () => {
    const steps: Record<string, number> = {};
    for (const name of Object.keys(operations)) {
      await refill(0);
      steps[name] = await measure(name);
    }
    let killed = 0;
    const byName: Record<string, number> = {};
    /** What no kill has met yet, in the end; one that has nothing to do ends before its step comes. */
    const spared = () => Object.keys(operations).filter((name) => byName[name] === undefined);
    for (let round = 0; killed < KILLS || spared().length > 0; round++) {
      expect(round, `rounds; no kill has met ${spared()}`).toBeLessThan(KILLS + 100);
      await refill(round);
      const last = killed < KILLS ? [] : spared();
      for (const needed of last.flatMap((name) => NEEDED[name] ?? [])) await start(needed, 0, {}).ended;
      const choices = last.length > 0 ? last : CHOICES;
      const running = Array.from({ length: AT_ONCE }, (_, index) => {
        const name = choices[below(choices.length)] ?? "";
        const at = String(1 + below(steps[name] ?? 1));
        const words = { name, n: below(12), killAt: index < KILLED_AT_ONCE ? at : "none" };
        return { ...words, ...start(name, words.n, index < KILLED_AT_ONCE ? { KILL_AT: at } : {}) };
      });
      for (const { name, n, killAt, child, ended } of running) {
        const { stderr } = await ended;
        const what = `seed ${SEED}, round ${round}: ${name} ${n}, killed at step ${killAt}`;
        // It is refused, or what it wants has been removed; it never meets a store that is not sound.
        expect(stderr, what).not.toMatch(/\[(unexpected|blob-|catalog-|manifest-|config-|map-|SQLITE)/i);
        if (child.signalCode !== "SIGKILL") continue;
        killed++;
        byName[name] = (byName[name] ?? 0) + 1;
      }
      await expectSound();
    }
    console.log(`seed ${SEED}: ${killed} killed, ${JSON.stringify(byName)}`);
    await removeMachines();
    const report = await doppel.json("images", "gc", "--interrupted", "--grace", "0s");
    expect(report).toMatchObject({ waitingBlobs: 0, waitsFor: null });
    const blobs = readdirSync(join(doppel.home, "store/blobs/sha256")).map((hex) => `sha256:${hex}`);
    expect(blobs.sort()).toEqual([...referenced()].sort());
    for (const folder of ["uploads", "quarantine"])
      expect(readdirSync(join(doppel.home, "store", folder))).toEqual([]);
    const listed = (await doppel.json("images", "ls")) as unknown as TaggedImage[];
    const distinct = new Map(listed.map((image) => [image.digest, image])).values();
    for (const { name, tag } of distinct)
      expect(await doppel.json("images", "verify", `${name}:${tag}`)).toMatchObject({ findingCount: 0 });
  }, 900_000);
});

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { seeded } from "../../fixtures/disks.ts";
import { type Fault, FaultProxy } from "../../fixtures/fault-proxy.ts";
import { Registry } from "../../fixtures/registry.ts";
import { ResumingRegistry } from "../../fixtures/resuming-registry.ts";
import { DoppelError } from "../../src/errors.ts";
import { parseReference } from "../../src/image/reference.ts";
import { pullImage } from "../../src/registry/pull.ts";
import { pushImage } from "../../src/registry/push.ts";
import { Repository } from "../../src/registry/repository.ts";
import { ImageStore } from "../../src/store/image-store.ts";
import { verifyImage } from "../../src/store/verify.ts";
import { Doppel, possible, Source } from "./doppel.ts";

const MIB = 1024 * 1024;
const QUICK = { attempts: 6, firstDelayMs: 1, mostDelayMs: 5 };

describe.skipIf(!possible)("between here and a registry", () => {
  const doppel = new Doppel();
  let registry: Registry;
  let proxy: FaultProxy;
  let source: Source;

  beforeAll(async () => {
    [registry, source] = await Promise.all([Registry.start(), Source.start(80)]);
    proxy = await FaultProxy.start(registry.host);
    await doppel.json(...source.capture, "--name", "web1");
  });

  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await source?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  beforeEach(() => {
    proxy.decide = () => undefined;
    proxy.seen.length = 0;
  });

  async function push(name: string) {
    await using store = await ImageStore.open(doppel.home);
    await using repository = await open(name, "push");
    return await pushImage(store, await store.resolve(parseReference("web1")), repository, { tag: "one" });
  }

  async function pull(name: string, home: string) {
    await using store = await ImageStore.open(home);
    await using repository = await open(name, "pull");
    const { image, report } = await pullImage(store, repository, "one", parseReference("web1"));
    expect((await verifyImage(store, image)).findings).toEqual([]);
    return report;
  }

  const open = (name: string, access: "push" | "pull") =>
    Repository.open({ registry: proxy.host, name, access, patience: QUICK });

  /** A fault that happens to the first `times` requests that match. */
  function first(times: number, method: string, path: RegExp, fault: Fault): () => number {
    let happened = 0;
    proxy.decide = (asked) => {
      if (happened >= times || asked.method !== method || !path.test(asked.path)) return undefined;
      happened++;
      return fault;
    };
    return () => happened;
  }

  it("an upload that is cut goes on where the registry has got to", async () => {
    await using resuming = await ResumingRegistry.start();
    await using cutting = await FaultProxy.start(resuming.host);
    let cuts = 0;
    cutting.decide = ({ method }) =>
      method === "PATCH" && cuts++ < 3 ? { kind: "cut-request", afterBytes: 9 * MIB } : undefined;
    await using store = await ImageStore.open(doppel.home);
    await using repository = await Repository.open({
      registry: cutting.host,
      name: "resuming",
      access: "push",
      patience: QUICK,
    });
    const report = await pushImage(store, await store.resolve(parseReference("web1")), repository, {
      tag: "one",
    });
    expect(cuts).toBeGreaterThan(3);
    expect(resuming.arrivedBytes).toBe(report.totalBytes);
    expect(resuming.blobs.size).toBe(report.blobs);
  });

  it("an upload that is cut begins again where the registry forgets it", async () => {
    const happened = first(1, "PATCH", /uploads/, { kind: "cut-request", afterBytes: 20 * MIB });
    const report = await push("cut/upload");
    expect(happened()).toBe(1);
    expect(report.sentBlobs).toBe(report.blobs);
    using other = new Doppel();
    await pull("cut/upload", other.home);
  });

  it("a download that is cut goes on by a Range request", async () => {
    await push("cut/download");
    const happened = first(3, "GET", /blobs/, { kind: "cut-response", afterBytes: 10 * MIB });
    using other = new Doppel();
    const report = await pull("cut/download", other.home);
    expect(happened()).toBeGreaterThan(1);
    expect(report.receivedBytes).toBe(report.totalBytes);
  });

  it("what ends early or comes with another bit is fetched again", async () => {
    await push("spoilt");
    const { layers } = (await doppel.json("images", "show", "web1")).manifest as {
      layers: { digest: string; size: number }[];
    };
    const pack = layers.find(({ size }) => size > 10 * MIB)?.digest ?? "none";
    for (const fault of [
      { kind: "truncate", afterBytes: 1 * MIB },
      { kind: "corrupt", atByte: 2 * MIB },
    ] as const) {
      const happened = first(1, "GET", new RegExp(pack), fault);
      using other = new Doppel();
      await pull("spoilt", other.home);
      expect(happened()).toBe(1);
    }
  });

  it("a registry that is busy is asked again; one that stays so is given up, and nothing is visible", async () => {
    const happened = first(4, "POST", /uploads/, {
      kind: "status",
      status: 429,
      headers: { "retry-after": "0" },
    });
    await push("busy");
    expect(happened()).toBe(4);
    first(1000, "GET", /blobs/, { kind: "status", status: 503 });
    using other = new Doppel();
    await expect(pull("busy", other.home)).rejects.toMatchObject({ code: "registry-failed" });
    expect(await other.json("images", "ls")).toEqual([]);
  });

  it("what is always spoilt is refused, and nothing of it is kept", async () => {
    await push("always");
    first(1000, "GET", /blobs/, { kind: "corrupt", atByte: 100 });
    using other = new Doppel();
    await expect(pull("always", other.home)).rejects.toMatchObject({ code: "registry-content" });
    expect(await other.json("images", "ls")).toEqual([]);
  });

  it.each(Array.from({ length: 12 }, (_, seed) => seed))(
    "whatever happens, no blob is wrong (seed %i)",
    async (seed) => {
      const random = seeded(seed);
      const pick = () => Math.floor(random() * 40 * MIB);
      const faults: (() => Fault)[] = [
        () => ({ kind: "status", status: [401, 404, 416, 429, 500, 503][Math.floor(random() * 6)] ?? 500 }),
        () => ({ kind: "cut-request", afterBytes: pick() }),
        () => ({ kind: "cut-response", afterBytes: pick() }),
        () => ({ kind: "truncate", afterBytes: pick() }),
        () => ({ kind: "corrupt", atByte: pick() }),
      ];
      proxy.decide = () => (random() < 0.15 ? faults[Math.floor(random() * faults.length)]?.() : undefined);
      const ended = async (transfer: Promise<unknown>) => {
        const error = await transfer.then(
          () => undefined,
          (failure: unknown) => failure,
        );
        // Right, or an error of the outside world: never one of ours.
        if (error !== undefined) expect(error).toBeInstanceOf(DoppelError);
      };
      await ended(push(`chance/${seed}`));
      using other = new Doppel();
      await ended(pull(`chance/${seed}`, other.home));
      proxy.decide = () => undefined;
      await push(`chance/${seed}`);
      await pull(`chance/${seed}`, other.home);
    },
  );
});

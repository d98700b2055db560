import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { MEDIA_TYPES } from "../../src/image/manifest.ts";
import { parseReference } from "../../src/image/reference.ts";
import { pullImage } from "../../src/registry/pull.ts";
import { Repository } from "../../src/registry/repository.ts";
import { verifyRemote } from "../../src/registry/verify.ts";
import { ImageStore } from "../../src/store/image-store.ts";
import { Doppel } from "./doppel.ts";

const MIB = 1024 * 1024;
const QUICK = { attempts: 3, firstDelayMs: 1, mostDelayMs: 5 };
const HUGE_BYTES = 4096 * MIB;

type Answer = (path: string, asked: IncomingMessage, answer: ServerResponse) => boolean;

/** What says of itself that it is a registry, and answers as the test has it. */
class Impostor implements AsyncDisposable {
  /** Bytes that went out. */
  sentBytes = 0;
  readonly #server = createServer();

  static async start(answers: Answer): Promise<Impostor> {
    const impostor = new Impostor();
    impostor.#server.on("request", (asked: IncomingMessage, answer: ServerResponse) => {
      const path = asked.url ?? "/";
      if (path === "/v2/") answer.writeHead(200).end("{}");
      else if (!answers(path, asked, answer)) answer.writeHead(404).end("{}");
    });
    await new Promise<void>((resolve) => impostor.#server.listen(0, "127.0.0.1", resolve));
    return impostor;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Sends zeros for as long as anybody takes them. */
  pour(answer: ServerResponse): void {
    const zeros = Buffer.alloc(MIB);
    const more = () => {
      while (this.sentBytes < HUGE_BYTES && !answer.destroyed) {
        this.sentBytes += zeros.length;
        if (!answer.write(zeros)) return answer.once("drain", more);
      }
      return answer.end();
    };
    more();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const digestOf = (bytes: Buffer) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

describe("a registry that means harm", () => {
  const doppel = new Doppel();
  let impostor: Impostor | undefined;

  afterEach(async () => {
    await impostor?.[Symbol.asyncDispose]();
    expect(await doppel.json("images", "ls")).toEqual([]);
  });

  function sendManifest(answer: ServerResponse, manifest: unknown): boolean {
    const bytes = Buffer.isBuffer(manifest) ? manifest : Buffer.from(JSON.stringify(manifest));
    answer
      .writeHead(200, { "content-type": MEDIA_TYPES.manifest, "content-length": bytes.length })
      .end(bytes);
    return true;
  }

  const config = { mediaType: MEDIA_TYPES.config, digest: digestOf(Buffer.from("{}")), size: 2 };
  const manifest = {
    ...{ schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, artifactType: MEDIA_TYPES.artifact, config },
    layers: [{ mediaType: MEDIA_TYPES.diskMap, digest: `sha256:${"1".repeat(64)}`, size: 64 }],
  };

  it("sends a manifest of gigabytes: reading it ends at its limit", async () => {
    impostor = await Impostor.start((path, _asked, answer) => {
      if (!path.includes("/manifests/")) return false;
      answer.writeHead(200, { "content-type": MEDIA_TYPES.manifest });
      impostor?.pour(answer);
      return true;
    });
    for (const words of [["pull"], ["images", "verify"]]) {
      const result = await doppel.run(...words, `${impostor.host}/web1:one`);
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-answer]") });
    }
    expect(impostor.sentBytes).toBeLessThan(200 * MIB);
  });

  it("sends more of a blob than the manifest says: it is not taken", async () => {
    impostor = await Impostor.start((path, asked, answer) => {
      if (path.endsWith("/manifests/one")) return sendManifest(answer, manifest);
      if (!path.includes("/blobs/")) return false;
      if (asked.method === "HEAD") answer.writeHead(200, { "content-length": 2 }).end();
      else {
        answer.writeHead(200);
        impostor?.pour(answer);
      }
      return true;
    });
    const { host: registry } = impostor;
    await using repository = await Repository.open({
      registry,
      name: "web1",
      access: "pull",
      patience: QUICK,
    });
    await using store = await ImageStore.open(doppel.home);
    const pulling = pullImage(store, repository, "one", parseReference("web1"));
    await expect(pulling).rejects.toMatchObject({ code: "registry-content" });
    const { findings } = await verifyRemote(repository, "one");
    expect(findings.map(({ blob }) => blob)).toEqual([config.digest, manifest.layers[0]?.digest]);
    expect(impostor.sentBytes).toBeLessThan(HUGE_BYTES);
  });

  it("names digests that lead out of the store, or makes a config of something else: refused", async () => {
    const bad = { ...manifest, layers: [{ ...manifest.layers[0], digest: "sha256:../../../etc/passwd" }] };
    impostor = await Impostor.start((path, _asked, answer) => {
      if (path.includes("/manifests/")) return sendManifest(answer, path.endsWith("/bad") ? bad : manifest);
      answer.writeHead(200, { "content-length": 2 }).end("{}");
      return true;
    });
    const led = await doppel.run("pull", `${impostor.host}/web1:bad`);
    expect(led).toMatchObject({ code: 1, stderr: expect.stringContaining("[manifest-corrupt]") });
    const other = await doppel.run("pull", `${impostor.host}/web1:one`);
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining("[config-corrupt]") });
  });

  it("lists referrers in pages without an end: asking ends", async () => {
    let pages = 0;
    impostor = await Impostor.start((path, _asked, answer) => {
      if (path.includes("/manifests/")) return sendManifest(answer, manifest);
      if (!path.includes("/referrers/")) return false;
      pages++;
      const index = JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [] });
      answer.writeHead(200, { "content-type": MEDIA_TYPES.index, link: `<${path}>; rel="next"` }).end(index);
      return true;
    });
    const result = await doppel.run("images", "verify", `${impostor.host}/web1:one`);
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-answer]") });
    expect(pages).toBeLessThan(200);
  });
});

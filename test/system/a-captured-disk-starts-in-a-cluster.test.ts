import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { seeded } from "../../fixtures/disks.ts";
import { FaultProxy } from "../../fixtures/fault-proxy.ts";
import { Registry } from "../../fixtures/registry.ts";
import { ResumingRegistry } from "../../fixtures/resuming-registry.ts";
import { Doppel, must, possible, runCommand, Source } from "./doppel.ts";

const MIB = 1024 * 1024;

/** What a container disk has to be: KubeVirt's docs/container-register-disks.md. */
describe.skipIf(!possible)("an image that is pushed as a container disk", () => {
  const doppel = new Doppel();
  const work = mkdtempSync(join(tmpdir(), "doppel-containerdisk-"));
  let registry: Registry;
  let proxy: FaultProxy;
  let source: Source;

  beforeAll(async () => {
    [registry, source] = await Promise.all([Registry.start(), Source.start(24)]);
    proxy = await FaultProxy.start(registry.host);
    // Clusters that compress and clusters that do not, in runs of every length; and zeros.
    const random = seeded(4);
    for (let at = 0; at < 16; ) {
      const clusters = 1 + Math.floor(random() * 4);
      const words = Buffer.alloc(clusters * 65_536, `cluster ${at} of a disk\n`);
      await writeAt(source.image.path, words, Math.floor(random() * 12) * MIB + at * 65_536);
      at += clusters;
    }
    await must(
      "dd",
      "if=/dev/zero",
      `of=${source.image.path}`,
      "bs=1M",
      "seek=14",
      "count=6",
      "conv=notrunc",
    );
    await doppel.json(...source.capture, "--name", "site/web1:monday");
  });

  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await source?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(work, { recursive: true, force: true });
  });

  beforeEach(() => {
    proxy.decide = () => undefined;
    proxy.seen.length = 0;
  });

  async function writeAt(path: string, content: Buffer, offsetBytes: number): Promise<void> {
    const piece = join(work, "piece");
    writeFileSync(piece, content);
    await must("dd", `if=${piece}`, `of=${path}`, "bs=64k", `seek=${offsetBytes / 65_536}`, "conv=notrunc");
  }

  const push = (tag: string, ...more: string[]) =>
    doppel.json(
      "push",
      "site/web1:monday",
      `${proxy.host}/disks/web1:${tag}`,
      "--as",
      "containerdisk",
      ...more,
    );

  /** Fetches it as a cluster's node would; returns the manifest and the folder with its blobs. */
  async function fetch(tag: string) {
    const folder = join(work, tag);
    const from = `docker://${registry.host}/disks/web1:${tag}`;
    await must("skopeo", "copy", "-q", "--src-tls-verify=false", from, `dir:${folder}`);
    const read = (name: string) =>
      JSON.parse(readFileSync(join(folder, name.replace("sha256:", "")), "utf8"));
    const manifest = read("manifest.json");
    return {
      folder,
      manifest,
      config: read(manifest.config.digest),
      blob: (digest: string) => join(folder, digest.replace("sha256:", "")),
    };
  }

  it("is one layer with the disk as qcow2, which qemu's own user may read, and a config of this architecture", async () => {
    const report = await push("one");
    expect(report).toMatchObject({ path: "disk/web1.qcow2", sentBytes: report.totalBytes });
    const { manifest, config, blob } = await fetch("one");
    const [layer, ...others] = manifest.layers;
    expect(others).toEqual([]);
    expect(layer).toMatchObject({
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      size: report.totalBytes,
    });
    expect(config).toMatchObject({ os: "linux", rootfs: { type: "layers", diff_ids: [layer.digest] } });
    const { architecture } = JSON.parse(
      await must("skopeo", "inspect", "--config", `oci:${doppel.home}/store:site/web1:monday`),
    );
    expect(config.architecture).toBe(architecture);
    const listed = await must("tar", "--numeric-owner", "-tvf", blob(layer.digest));
    expect(listed).toMatch(/^dr-xr-xr-x 107\/107 .* disk\/\n-r--r----- 107\/107 .* disk\/web1\.qcow2\n$/);
  });

  it("has the disk's own bytes, by qemu-img", async () => {
    const { manifest, blob } = await fetch("one");
    await must("tar", "-xf", blob(manifest.layers[0].digest), "-C", work);
    const qcow2 = join(work, "disk/web1.qcow2");
    expect((await runCommand("qemu-img", ["check", qcow2])).stdout).toContain("No errors were found");
    const raw = join(work, "web1.raw");
    await doppel.json("export", "site/web1:monday", "-o", raw);
    await must("qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow2, raw);
    await must("cmp", raw, source.image.path);
    // What can be exported to a file is the same file.
    const exported = join(work, "exported.qcow2");
    await doppel.json("export", "site/web1:monday", "-o", exported);
    await must("cmp", exported, qcow2);
  });

  it("is not sent again when it is there", async () => {
    const first = await fetch("one");
    const again = await push("one");
    expect(again).toMatchObject({ sentBytes: 0 });
    expect(proxy.seen.filter((asked) => asked.startsWith("POST"))).toEqual([]);
    expect((await fetch("one")).manifest).toEqual(first.manifest);
  });

  it("arrives whole although the connection is cut on the way", async () => {
    let cuts = 0;
    proxy.decide = ({ method }) => {
      if (method !== "PATCH" || cuts >= 2) return undefined;
      cuts++;
      return { kind: "cut-request", afterBytes: 5 * MIB };
    };
    await push("cut");
    expect(cuts).toBe(2);
    const [whole, cut] = [await fetch("one"), await fetch("cut")];
    expect(cut.manifest).toEqual(whole.manifest);
  });

  it("is made from the byte on that a registry which keeps its sessions has got to", async () => {
    await using resuming = await ResumingRegistry.start();
    await using cutting = await FaultProxy.start(resuming.host);
    let cuts = 0;
    cutting.decide = ({ method }) =>
      method === "PATCH" && cuts++ < 2 ? { kind: "cut-request", afterBytes: 5 * MIB } : undefined;
    const to = `${cutting.host}/disks/web1:resumed`;
    const report = await doppel.json("push", "site/web1:monday", to, "--as", "containerdisk");
    expect(cuts).toBe(3);
    const [layer] = (await fetch("one")).manifest.layers;
    expect(resuming.blobs.get(layer.digest)?.length).toBe(report.totalBytes);
  });

  it("asks where to, and which disk, before it sends anything", async () => {
    const nowhere = await doppel.run("push", "site/web1:monday", "--as", "containerdisk");
    expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining("[usage]") });
    const unknown = await doppel.run(
      "push",
      "site/web1:monday",
      `${registry.host}/x`,
      "--as",
      "containerdisk",
      "--disk",
      "7",
    );
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining("[disk-unknown]") });
    const other = await doppel.run("push", "site/web1:monday", `${registry.host}/x`, "--as", "zip");
    expect(other.code).toBe(2);
    // The image itself is sent as it is: demands on it would not be kept.
    const demanding = await doppel.run("push", "site/web1:monday", `${registry.host}/x`, "--policy", "none");
    expect(demanding).toMatchObject({ code: 2, stderr: expect.stringContaining("add --as") });
  });

  it("gets no tag when a pack of it is damaged", async () => {
    const { manifest } = await doppel.json("images", "show", "site/web1:monday");
    const { digest } = (manifest as { layers: { mediaType: string; digest: string }[] }).layers.find(
      ({ mediaType }) => mediaType.includes("pack"),
    ) ?? { digest: "" };
    const path = join(doppel.home, "store/blobs/sha256", digest.replace("sha256:", ""));
    const good = readFileSync(path);
    try {
      const bad = Buffer.from(good);
      bad[70_000] = (bad[70_000] ?? 0) ^ 0xff;
      writeFileSync(path, bad);
      const result = await doppel.run(
        "push",
        "site/web1:monday",
        `${registry.host}/disks/web1:bad`,
        "--as",
        "containerdisk",
      );
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[pack-corrupt]") });
      const asked = ["inspect", "--tls-verify=false", `docker://${registry.host}/disks/web1:bad`];
      expect((await runCommand("skopeo", asked)).code).not.toBe(0);
    } finally {
      writeFileSync(path, good);
    }
  });
});

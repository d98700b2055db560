import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Registry } from "../../fixtures/registry.ts";
import { type ContentDescriptor, RegistryContent } from "../../fixtures/registry-content.ts";
import { Doppel, possible, Source } from "./doppel.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const EMPTY = "application/vnd.oci.empty.v1+json";

describe.skipIf(!possible)("a pull", () => {
  const doppel = new Doppel();
  let registry: Registry;
  let digest: string;
  let size: number;

  beforeAll(async () => {
    registry = await Registry.start();
    await using source = await Source.start(1);
    digest = String((await doppel.json(...source.capture, "--name", "web1")).digest);
    size = statSync(join(doppel.home, "store/blobs/sha256", digest.replace("sha256:", ""))).size;
  });

  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  /** A repository with the image, and whatever `attach` wants to be attached to it. */
  async function repository(
    name: string,
    attach: (content: RegistryContent, config: ContentDescriptor) => Promise<ContentDescriptor[]>,
  ): Promise<string> {
    await doppel.json("push", "web1", `${registry.host}/${name}:one`);
    const content = new RegistryContent(registry.host, name);
    const config = await content.putBlob(Buffer.from("{}"), EMPTY);
    await content.putReferrers(digest, await attach(content, config));
    return `${registry.host}/${name}:one`;
  }

  const attachment = (config: ContentDescriptor, layers: ContentDescriptor[], image = digest) => ({
    artifactType: "application/vnd.example.notes.v1",
    config,
    layers,
    subject: { mediaType: MANIFEST, digest: image, size },
  });

  it("refuses what is attached to another image, and names nothing", async () => {
    const remote = await repository("wrong", async (content, config) => [
      await content.putManifest(attachment(config, [config], `sha256:${"e".repeat(64)}`)),
    ]);
    using other = new Doppel();
    const result = await other.run("pull", remote);
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-content]") });
    expect(result.stderr).toContain("subject");
    expect(await other.json("images", "ls")).toEqual([]);
  });

  it("leaves what is too large or of another form where it is, says so, and takes the rest", async () => {
    const remote = await repository("large", async (content, config) => {
      const huge = { ...(await content.putBlob(Buffer.alloc(10), "text/plain")), size: 1e12 };
      const good = await content.putManifest(attachment(config, [config]));
      const large = await content.putManifest(attachment(config, [huge]));
      const { subject: _, ...foreign } = attachment(config, [config]);
      return [large, await content.putManifest(foreign), good];
    });
    using other = new Doppel();
    const result = await other.run("pull", remote, "--json");
    expect(result).toMatchObject({ code: 0, stderr: expect.stringContaining("not fetched") });
    const report = JSON.parse(result.stdout);
    expect(report).toMatchObject({ attachments: 1, leftAttachments: [expect.anything(), expect.anything()] });
    expect((await other.run("images", "verify", "large:one")).code).toBe(0);
  });

  it("refuses a list of thousands without asking for any of them", async () => {
    // A registry keeps only a list of what it has: one and the same, many times.
    const remote = await repository("many", async (content, config) => {
      const one = await content.putManifest(attachment(config, [config]));
      return Array.from({ length: 5000 }, () => one);
    });
    using other = new Doppel();
    const result = await other.run("pull", remote);
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-answer]") });
    expect(readdirSync(join(other.home, "store/blobs/sha256")).length).toBeLessThan(3);
  });
});

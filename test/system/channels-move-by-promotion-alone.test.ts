import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BOOT_TEST_RESULT, BOOT_TEST_TYPE } from "../../src/freezer/boot-evidence.ts";
import { parseReference } from "../../src/image/reference.ts";
import { attach } from "../../src/store/attachments.ts";
import { ImageStore } from "../../src/store/image-store.ts";
import { Doppel, possible, Source } from "./doppel.ts";

describe.skipIf(!possible)("a channel", () => {
  const doppel = new Doppel();
  let source: Source;
  const file = (name: string) => join(doppel.home, name);
  const refused = (code: string) => ({ code: 3, stderr: expect.stringContaining(`[${code}]`) });

  beforeAll(async () => {
    source = await Source.start(2);
    for (const name of ["base:monday", "base:tuesday"]) await doppel.json(...source.capture, "--name", name);
    await doppel.json("images", "keygen", "--no-passphrase", "-o", file("release"));
    const checks = ["--require", "verified,boot-tested,signed", "--key", file("release.pub")];
    await doppel.json("images", "channel", "base:stable", ...checks);
  });

  afterAll(async () => {
    await source?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  /** Records a boot test as `doppel boot-test` does: a real one is in the boot tests. */
  async function bootTested(name: string, result: string): Promise<void> {
    await using store = await ImageStore.open(doppel.home);
    const image = await store.resolve(parseReference(name));
    const created = new Date().toISOString();
    const annotations = { [BOOT_TEST_RESULT]: result };
    await attach(store, image, { artifactType: BOOT_TEST_TYPE, created, annotations, files: [] });
  }

  async function makeFit(name: string): Promise<void> {
    await doppel.json("images", "verify", name);
    await bootTested(name, "yes, virtio-blk, BIOS, 2026-11-24");
    await doppel.json("images", "sign", name, "--key", file("release.key"));
  }

  it("refuses an image that lacks what it demands, and says which commands meet it", async () => {
    await bootTested("base:monday", "no, virtio-blk, BIOS, 2026-11-24");
    const result = await doppel.run("images", "promote", "base:monday", "base:stable");
    expect(result).toMatchObject(refused("channel-checks"));
    for (const command of [
      "images verify base:monday",
      "boot-test base:monday",
      "images sign base:monday --key",
    ])
      expect(result.stderr).toContain(`doppel ${command}`);
    const dry = await doppel.json("images", "promote", "base:monday", "base:stable", "--dry-run");
    expect((dry.checks as { met: boolean }[]).map(({ met }) => met)).toEqual([false, false, false]);
    expect((await doppel.run("images", "show", "base:stable")).code).toBe(1);
  });

  it("takes one that has it, records who, when and from what, and goes back one step", async () => {
    for (const name of ["base:monday", "base:tuesday"]) {
      await makeFit(name);
      await doppel.json("images", "promote", name, "base:stable");
    }
    const [monday, tuesday] = await Promise.all(
      ["base:monday", "base:tuesday"].map((name) => doppel.json("images", "show", name)),
    );
    expect(tuesday).toMatchObject({ channels: ["base:stable"], verification: { result: "whole" } });
    const undone = await doppel.json("images", "promote", "--undo", "base:stable");
    expect(undone).toMatchObject({ digest: monday?.digest, before: tuesday?.digest });
    const channel = await doppel.json("images", "channel", "base:stable");
    const by = expect.stringMatching(/^.+@.+$/);
    const at = expect.stringMatching(/^\d{4}-.*Z$/);
    expect(channel).toMatchObject({
      digest: monday?.digest,
      history: [
        { action: "declare", digest: null },
        { action: "promote", digest: monday?.digest, source: "base:monday", by, at },
        { action: "promote", digest: tuesday?.digest, source: "base:tuesday", by, at },
        { action: "undo", digest: monday?.digest, source: tuesday?.digest, by, at },
      ],
    });
    expect(await doppel.run("images", "promote", "--undo", "base:stable")).toMatchObject(
      refused("channel-undo"),
    );
  });

  it.each([
    ["tag", ["images", "tag", "base:tuesday", "base:stable"]],
    ["untag", ["images", "untag", "base:stable"]],
    ["rm", ["images", "rm", "base:stable"]],
    ["pull", ["pull", "127.0.0.1:1/base:stable"]],
    ["convert", ["convert", "base:tuesday", "--to", "kvm", "--name", "base:stable"]],
    ["serve", ["serve", "base:tuesday", "--writable", "--name", "base:stable"]],
  ])("is not moved by %s", async (_, words) => {
    expect(await doppel.run(...words)).toMatchObject(refused("channel-protected"));
  });

  it("is not moved by a capture, which is refused before it begins, nor by a tar", async () => {
    const capture = await doppel.run(...source.capture, "--name", "base:stable");
    expect(capture).toMatchObject(refused("channel-protected"));
    using other = new Doppel();
    await doppel.json("save", "base:tuesday", "-o", file("base.tar"));
    await other.json("images", "channel", "base:tuesday", "--require", "none");
    expect(await other.run("load", file("base.tar"))).toMatchObject(refused("channel-protected"));
    expect(await other.json("images", "ls")).toEqual([]);
  });

  it("does not take a revoked image", async () => {
    await doppel.json("images", "revoke", "base:tuesday", "--why", "a test");
    expect(await doppel.run("images", "promote", "base:tuesday", "base:stable")).toMatchObject(
      refused("image-revoked"),
    );
    await doppel.json("images", "revoke", "base:tuesday", "--undo");
    await doppel.json("images", "promote", "base:tuesday", "base:stable");
  });

  it("is a common name again once it is told so", async () => {
    expect((await doppel.run("images", "channel", "base:monday")).stderr).toContain("[channel-unknown]");
    expect((await doppel.run("images", "channel", "base:stable", "--require", "signed")).code).toBe(2);
    await doppel.json("images", "channel", "base:stable", "--remove");
    await doppel.json("images", "untag", "base:stable");
  });
});

describe.skipIf(!possible)("labels", () => {
  it("are set, found by a filter, and travel with the image", async () => {
    using doppel = new Doppel();
    await using source = await Source.start(2);
    await doppel.json(...source.capture, "--name", "web1");
    await doppel.json("images", "label", "web1", "team=web", "site=berlin");
    expect(await doppel.json("images", "label", "web1", "site-")).toMatchObject({ labels: { team: "web" } });
    await doppel.json("save", "web1", "-o", join(doppel.home, "web1.tar"));
    using other = new Doppel();
    await other.json("load", join(doppel.home, "web1.tar"));
    expect(await other.json("images", "ls", "--filter", "label.team=w*")).toMatchObject([
      { labels: { team: "web" } },
    ]);
    expect(await other.json("images", "ls", "--filter", "label.site=*")).toEqual([]);
    expect((await other.run("images", "label", "web1", "team")).code).toBe(2);
  });
});

import { mkdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { FarmContext } from "../../../../src/farm/context.ts";
import type { FarmBox } from "../../../../src/farm/file/boxes.ts";
import { imageGate } from "../../../../src/farm/gates/image.ts";
import { FarmLease } from "../../../../src/farm/journal/lease.ts";
import { instanceFolder, writeInstance } from "../../../../src/freezer/instance.ts";
import { TestCatalog } from "../catalog.ts";

const digestOf = (digit: number) => `sha256:${String(digit).repeat(64)}`;
const BOX = { kind: "libvirt", name: "web1", connect: "qemu:///system" } as FarmBox;

/** A farm of one box: what the file's image is now, what was provisioned, and what the shadow is of. */
interface Digests {
  image: number;
  provisioned?: number;
  shadow?: number;
}

async function look({ image, provisioned, shadow }: Digests) {
  using test = new TestCatalog();
  using lease = FarmLease.take(test.journal);
  if (provisioned !== undefined) {
    const about = { run: 1, step: "box/web1/shadow", title: "", direction: "do", inputs: null } as const;
    lease.append({ ...about, kind: "step-done", by: "run", result: { digest: digestOf(provisioned) } });
  }
  if (shadow !== undefined) {
    mkdirSync(instanceFolder(test.folder, "shop-web1"), { recursive: true });
    await writeInstance(test.folder, {
      ...{
        version: 1,
        name: "shop-web1",
        uuid: "u",
        image: "base:12",
        connect: BOX.kind,
        network: "default",
      },
      ...{ imageDigest: digestOf(shadow), macs: [], created: "2026-11-25T00:00:00Z" },
    });
  }
  const context = {
    farm: { spec: { boxes: [BOX], image: { ref: "base:12" } } },
    store: { home: test.folder, resolve: async () => ({ digest: digestOf(image) }) },
    journal: test.journal,
    machines: { shadow: () => ({ name: "shop-web1" }) },
  };
  return await imageGate(context as unknown as FarmContext).look(new AbortController().signal);
}

describe("the gate of the image", () => {
  it("is open while the file's image, what was provisioned and the shadow are the same", async () => {
    expect(await look({ image: 1, provisioned: 1, shadow: 1 })).toMatchObject({ passed: true });
  });

  it.each<[string, Digests, RegExp]>([
    [
      "the file's name means another image now",
      { image: 2, provisioned: 1, shadow: 1 },
      /provisioned of .*1+, .* is .*2+$/,
    ],
    [
      "somebody made the shadow anew of another one",
      { image: 1, provisioned: 1, shadow: 2 },
      /is of .*2+, the image is .*1+$/,
    ],
    ["it was made by hand, and never provisioned", { image: 1, shadow: 1 }, /shop-web1 was not provisioned/],
  ])("is closed when %s", async (_, digests, why) => {
    const { passed, message } = await look(digests);
    expect(message).toMatch(why);
    expect(passed).toBe(false);
  });

  it("is closed when the shadow is gone", async () => {
    await expect(look({ image: 1, provisioned: 1 })).rejects.toMatchObject({ code: "instance-unknown" });
  });
});

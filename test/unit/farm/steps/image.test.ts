import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FarmContext } from "../../../../src/farm/context.ts";
import { imageStep, placeImageStep } from "../../../../src/farm/steps/image.ts";
import { ImageStore } from "../../../../src/store/image-store.ts";
import { revokeImage, undoRevocations } from "../../../../src/trust/revocation.ts";
import { seal } from "../../store/sealed-image.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-farm-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const { signal } = new AbortController();
const options = { why: "a hole in its web server", by: "root@lab" };

describe("a farm", () => {
  it("makes no machine of an image that was revoked, or that the policy refuses", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    const farm = { path: "farm.yaml", spec: { image: { ref: "web1" } } };
    const context = { farm, store } as unknown as FarmContext;
    const steps = [imageStep(context), placeImageStep(context, "test:///default", "pool")];
    await revokeImage(store, image, options);
    for (const { run } of steps)
      await expect(run(signal)).rejects.toMatchObject({ code: "image-revoked", exitCode: 3 });
    await undoRevocations(store, image, options);
    expect(await steps[0]?.run(signal)).toEqual({ digest: image.digest });
    writeFileSync(join(home, "policy.yaml"), "version: 1\ndefault: refuse\nrules: []\n");
    for (const { run } of steps)
      await expect(run(signal)).rejects.toMatchObject({ code: "policy-refused", exitCode: 3 });
  });
});

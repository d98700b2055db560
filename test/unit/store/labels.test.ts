import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ImageStore } from "../../../src/store/image-store.ts";
import { changeLabels, labelsIn, parseLabelChange } from "../../../src/store/labels.ts";
import { seal } from "./sealed-image.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-store-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

describe("labels", () => {
  it("are set, changed and taken away; one set is attached at a time", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    await changeLabels(store, image, ["team=web", "floor=2"].map(parseLabelChange));
    const labels = await changeLabels(store, image, ["team=a=b", "floor-"].map(parseLabelChange));
    expect(labels).toEqual({ team: "a=b" });
    const attachments = store.catalog.attachments(image.digest);
    expect(attachments).toHaveLength(1);
    expect(labelsIn(attachments)).toEqual({ team: "a=b" });
  });

  it.each(["team", "=web", "te am=web", "-", "team=a\u001b[31m", `team=${"x".repeat(257)}`, "a/=x"])(
    "that are none are refused: %j",
    (text) => {
      expect(() => parseLabelChange(text)).toThrow(expect.objectContaining({ code: "usage", exitCode: 2 }));
    },
  );

  it("are not more than anybody reads", async () => {
    await using store = await ImageStore.open(home);
    const image = await seal(store, "web1");
    const many = Array.from({ length: 65 }, (_, number) => ({ key: `k${number}`, value: "x" }));
    await expect(changeLabels(store, image, many)).rejects.toMatchObject({ code: "usage" });
  });
});

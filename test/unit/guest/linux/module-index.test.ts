import { describe, expect, it } from "vitest";
import { dependencyLine, ModuleIndex, moduleName } from "../../../../src/guest/linux/module-index.ts";

const DEP = [
  "kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz",
  "kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz",
  "kernel/drivers/virtio/virtio.ko.xz:",
  "/lib/modules/2.6.32/kernel/drivers/net/e1000.ko:",
].join("\n");

describe("an index of modules", () => {
  const index = new ModuleIndex(DEP, "kernel/drivers/virtio/virtio-pci.ko\n");

  it("knows what must be loaded, in which order, what is built in and what is missing", () => {
    const { modules, builtIn, missing } = index.closure(["virtio-blk", "virtio_pci", "vmxnet3", "virtio"]);
    expect(modules.map(({ name }) => name)).toEqual(["virtio", "virtio_ring", "virtio_blk"]);
    expect(builtIn).toEqual(["virtio_pci"]);
    expect(missing).toEqual(["vmxnet3"]);
  });

  it("takes the absolute paths of old systems", () => {
    expect(index.get("e1000")?.path).toBe("kernel/drivers/net/e1000.ko");
    expect(moduleName("kernel/a/snd-hda-intel.ko.zst")).toBe("snd_hda_intel");
  });

  it("writes the lines that it has read", () => {
    expect(
      index
        .all()
        .map((module) => dependencyLine(module, index))
        .slice(0, 3),
    ).toEqual(DEP.split("\n").slice(0, 3));
  });
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeKmodIndex } from "../../src/guest/linux/kmod-trie.ts";
import { must, runCommand } from "./doppel.ts";

const VERSION = "6.1.0-test";

describe("binary module indexes", () => {
  const root = mkdtempSync(join(tmpdir(), "doppel-kmod-"));
  const folder = join(root, "lib/modules", VERSION);

  beforeAll(() => mkdirSync(join(folder, "kernel"), { recursive: true }));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,12}$/);

  it("give modprobe the path and the dependencies of every module", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(name, { minLength: 1, maxLength: 40 }), async (names) => {
        const line = (index: number) => {
          const first = index > 0 ? ` kernel/${names[index - 1]}.ko` : "";
          return `kernel/${names[index]}.ko:${first}`;
        };
        const entries = names.map((key, priority) => ({ key, value: line(priority), priority }));
        // A dependency must be a file; what is in it is not read.
        for (const module of names) writeFileSync(join(folder, "kernel", `${module}.ko`), "");
        writeFileSync(join(folder, "modules.dep.bin"), encodeKmodIndex(entries));
        writeFileSync(join(folder, "modules.alias.bin"), encodeKmodIndex([]));
        const last = names.length - 1;
        const shown = await must("modprobe", "-d", root, "-S", VERSION, "--show-depends", names[last] ?? "");
        const expected = last > 0 ? [names[last - 1], names[last]] : [names[last]];
        expect(
          shown
            .trim()
            .split("\n")
            .map((text) => text.trim()),
        ).toEqual(expected.map((module) => `insmod ${folder}/kernel/${module}.ko`));
        const unknown = await runCommand("modprobe", [
          "-d",
          root,
          "-S",
          VERSION,
          "--show-depends",
          "no_such_module",
        ]);
        expect(unknown.code).not.toBe(0);
      }),
      { numRuns: 40, seed: 8 },
    );
  });

  it("resolve the aliases of devices with their wildcards", async () => {
    const aliases = [
      { key: "pci:v00001AF4d00001001sv*sd*bc*sc*i*", value: "virtio_pci", priority: 0 },
      { key: "virtio:d00000002v*", value: "virtio_blk", priority: 1 },
      { key: "virtio:d00000001v*", value: "virtio_net", priority: 2 },
      { key: "pci:v*d*sv*sd*bc01sc06i01*", value: "ahci", priority: 3 },
    ];
    const modules = ["virtio_pci", "virtio_blk", "virtio_net", "ahci"];
    const dep = modules.map((key, priority) => ({ key, value: `kernel/${key}.ko:`, priority }));
    writeFileSync(join(folder, "modules.dep.bin"), encodeKmodIndex(dep));
    writeFileSync(join(folder, "modules.alias.bin"), encodeKmodIndex(aliases));
    const resolve = async (alias: string) =>
      (await must("modprobe", "-d", root, "-S", VERSION, "--resolve-alias", alias)).trim();
    expect(await resolve("virtio:d00000002v00001AF4")).toBe("virtio_blk");
    expect(await resolve("pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00")).toBe("virtio_pci");
    expect(await resolve("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01")).toBe("ahci");
  });

  it("are byte for byte those of depmod, for its own list", async () => {
    // depmod makes an index of what is built in from the text alone: no module file is needed.
    const built = [
      "kernel/drivers/block/loop.ko",
      "kernel/lib/crc32.ko",
      "kernel/fs/ext4/ext4.ko",
      "kernel/fs/ext4/ext4-x.ko",
    ];
    writeFileSync(join(folder, "modules.builtin"), `${built.join("\n")}\n`);
    writeFileSync(join(folder, "modules.order"), "");
    await must("depmod", "-b", root, VERSION);
    const names = built.map((path) => path.replace(/^.*\//, "").replace(".ko", "").replaceAll("-", "_"));
    const ours = encodeKmodIndex(names.map((key) => ({ key, value: "", priority: 0 })));
    expect(ours.equals(readFileSync(join(folder, "modules.builtin.bin")))).toBe(true);
  });
});

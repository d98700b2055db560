import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { must, packageRoot, runCommand } from "./doppel.ts";

const MIB = 1024 * 1024;
const RUNS = 100_000;
const SEED = 20_261_123;

/** Sound images that the fuzzer patches: one for each reader. */
const BASES: [string, number, (path: string) => Promise<string>][] = [
  ["ext4", 32, (path) => must("mkfs.ext4", "-q", "-F", "-b", "4096", path)],
  [
    "ext4 without flex_bg, with uninit groups",
    48,
    (path) => must("mkfs.ext4", "-q", "-F", "-O", UNINIT, path),
  ],
  ["xfs", 300, (path) => must("mkfs.xfs", "-q", "-f", path)],
  ["swap", 8, (path) => must("mkswap", "-q", path)],
  ["GPT", 64, (path) => must("sgdisk", "--new=1:2048:+20M", "--new=2:0:0", path)],
  ["MBR with logical partitions", 128, partitionMbr],
];

const UNINIT = "^flex_bg,^metadata_csum,uninit_bg";

async function partitionMbr(path: string): Promise<string> {
  const script = `${path}.sfdisk`;
  writeFileSync(script, "label: dos\n,20M\n,60M,E\n,10M\n,10M\n");
  return await must("bash", "-c", `sfdisk -q '${path}' < '${script}'`);
}

describe("map readers under AddressSanitizer and UBSan", () => {
  beforeAll(async () => {
    await must("make", "-s", "-C", join(packageRoot, "native"), "fuzz");
  });

  it.each(BASES)(
    `take ${RUNS} mutations of a disk with %s: no crash, no range outside of it`,
    async (_name, sizeMib, make) => {
      using image = new DiskImage(sizeMib * MIB);
      await make(image.path);
      const fuzzer = join(packageRoot, "native/build/fuzz/fuzz-map");
      const args = [`-runs=${RUNS}`, `-seed=${SEED}`, "-max_len=400", `-artifact_prefix=${image.folder}/`];
      const { code, stderr } = await runCommand(fuzzer, args, { DOPPEL_FUZZ_BASE: image.path });
      expect({ code, last: stderr.trim().split("\n").slice(-12).join("\n") }).toMatchObject({
        code: 0,
        last: expect.stringContaining(`Done ${RUNS} runs`),
      });
    },
  );
});

import { basename } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Files of which two run at once, longest first. They look at nothing that another one may change (the machine's agents and folders
 * of temporary files, a fixed port, a name in libvirt) and measure no time. All others run alone.
 */
const PAIRED = [
  "windows-guests-get-their-drivers",
  "the-store-stays-sound-whatever-is-killed",
  "map-readers-survive-mutated-disks",
  "images-that-are-not-trusted-are-refused",
  "maps-never-miss-a-used-block",
  "encrypted-disks-open-with-their-key",
  "conversion-steps-fit-each-guest",
  "a-restore-comes-to-a-sound-end-wherever-it-is-killed",
  "shadows-use-the-right-database-wherever-pointing-is-killed",
  "images-tell-which-files-changed",
  "channels-move-by-promotion-alone",
  "capture-export-compare",
  "appliances-and-partclone-images-become-images",
  "registry-edits-reach-the-hive",
  "module-indexes-are-those-of-kmod",
  "first-boot-service-runs-each-script-once",
  "other-formats-hold-the-same-disks",
  "exports-of-any-disk",
  "images-travel-as-one-file",
  "images-go-to-a-registry-and-come-back",
  "damage-is-found-named-and-repaired",
  "images-keep-what-they-hold",
  "what-is-attached-cannot-harm-a-pull",
  "a-re-capture-sends-only-what-changed",
  "a-reader-may-go-at-any-time",
  "old-images-go-by-rules",
  "images-tell-what-changed-between-them",
];

/** The same in the boot tests: their machines have names and hardware addresses of their own. */
const PAIRED_BOOTS = [
  "a-converted-machine-boots-on-other-hardware",
  "every-stack-of-dracut-boots-on-other-hardware",
  "a-real-machine-with-stacked-and-failing-disks",
  "quickstart",
];
/** Of the whole matrix only. */
const MATRIX = "every-stack-of-initramfs-tools-boots-on-other-hardware";

const order = [...PAIRED, ...PAIRED_BOOTS, MATRIX];
const LIMIT_MS = 180_000;
const BOOT_LIMIT_MS = 1_200_000;
const files = PAIRED.map((name) => `test/system/${name}.test.ts`);
const pathOfBoot = (name: string) => `test/boot/${name}.test.ts`;
const boots = PAIRED_BOOTS.map(pathOfBoot);
const paired = process.env.DOPPEL_MATRIX === "all" ? [...boots, pathOfBoot(MATRIX)] : boots;
const limits = (milliseconds: number) => ({ testTimeout: milliseconds, hookTimeout: milliseconds });

/** Keeps the order of the lists: a long file that starts last would run by itself. */
class LongestFirst extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => order.indexOf(basename(moduleId, ".test.ts"));
    return (await super.sort(specifications)).sort((left, right) => place(left) - place(right));
  }
}

// Cheapest first; `vitest run --project NAME` runs one alone, 'system*' and 'boot*' both of that folder.
export default defineConfig({
  test: {
    passWithNoTests: false,
    sequence: { sequencer: LongestFirst },
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 20_000 } },
      {
        test: {
          name: "system",
          include: ["test/system/**/*.test.ts"],
          exclude: files,
          fileParallelism: false,
          ...limits(LIMIT_MS),
        },
      },
      { test: { name: "system-paired", include: files, maxWorkers: 2, ...limits(2 * LIMIT_MS) } },
      {
        test: {
          name: "boot",
          include: ["test/boot/**/*.test.ts"],
          exclude: [...boots, pathOfBoot(MATRIX)],
          fileParallelism: false,
          ...limits(BOOT_LIMIT_MS),
        },
      },
      { test: { name: "boot-paired", include: paired, maxWorkers: 2, ...limits(2 * BOOT_LIMIT_MS) } },
    ],
  },
});

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
  "users-are-served-wherever-a-switch-is-killed",
  "encrypted-disks-open-with-their-key",
  "conversion-steps-fit-each-guest",
  "a-restore-comes-to-a-sound-end-wherever-it-is-killed",
  "shadows-use-the-right-database-wherever-pointing-is-killed",
  "disk-images-of-others-become-images",
  "farm-databases-are-copied-expanded-pointed-and-restored",
  "a-farm-is-provisioned-and-goes-on-after-a-kill",
  "a-router-on-another-machine-is-switched-over-ssh",
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
  "the-old-version-is-left-for-good-wherever-clean-is-killed",
  "preparations-come-to-the-same-end-wherever-they-are-killed",
  "only-one-side-does-what-must-be-done-once",
  "a-farm-shows-who-reaches-whom",
  "databases-of-other-kinds-are-handled-by-commands",
  "logins-are-those-of-docker",
];

/** Emulated machines of one processor each, of which two run at once, with names and hardware addresses of their own. Longest first. */
const PAIRED_BOOTS = [
  "a-converted-machine-boots-on-other-hardware",
  "a-real-machine-with-stacked-and-failing-disks",
];

/** The whole matrix: files of which two run at once, with machines of names and hardware addresses of their own. */
const MATRIX = [
  "test/boot/an-imported-machine-boots-on-other-hardware.test.ts",
  "test/boot/every-stack-of-dracut-boots-on-other-hardware.test.ts",
  "test/boot/every-stack-of-initramfs-tools-boots-on-other-hardware.test.ts",
];

const LIMIT_MS = 180_000;
const BOOT_LIMIT_MS = 1_200_000;
const pathsIn = (folder: string, names: string[]) => names.map((name) => `test/${folder}/${name}.test.ts`);
const systemFiles = pathsIn("system", PAIRED);
const bootFiles = pathsIn("boot", PAIRED_BOOTS);
const inOrder = [...systemFiles, ...bootFiles].map((path) => basename(path));
const limits = (milliseconds: number) => ({ testTimeout: milliseconds, hookTimeout: milliseconds });

/** Keeps the order of the lists: a long file that starts last would run by itself. */
class LongestFirst extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => inOrder.indexOf(basename(moduleId));
    return (await super.sort(specifications)).sort((left, right) => place(left) - place(right));
  }
}

// Cheapest first; `vitest run --project NAME` runs one alone, 'system*' both of that folder, 'boot*' likewise.
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
          exclude: systemFiles,
          fileParallelism: false,
          ...limits(LIMIT_MS),
        },
      },
      { test: { name: "system-paired", include: systemFiles, maxWorkers: 2, ...limits(4 * LIMIT_MS) } },
      {
        test: {
          name: "boot",
          include: ["test/boot/**/*.test.ts"],
          exclude: [...bootFiles, ...MATRIX],
          fileParallelism: false,
          ...limits(BOOT_LIMIT_MS),
        },
      },
      {
        test: { name: "boot-paired", include: bootFiles, maxWorkers: 2, ...limits(2 * BOOT_LIMIT_MS) },
      },
      { test: { name: "matrix", include: MATRIX, maxWorkers: 2, ...limits(2 * BOOT_LIMIT_MS) } },
    ],
  },
});

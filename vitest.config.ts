import { basename } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * Files of which two run at once, longest first. They look at nothing that another one may change (the machine's agents and folders
 * of temporary files, a fixed port, a name in libvirt) and measure no time. All others run alone.
 */
const PAIRED = {
  system: [
    "windows-guests-get-their-drivers",
    "the-store-stays-sound-whatever-is-killed",
    "map-readers-survive-mutated-disks",
    "images-that-are-not-trusted-are-refused",
    "maps-never-miss-a-used-block",
    "encrypted-disks-open-with-their-key",
    "conversion-steps-fit-each-guest",
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
    "old-images-go-by-rules",
    "images-tell-what-changed-between-them",
  ],
  boot: [
    "every-stack-boots-on-other-hardware",
    "a-converted-machine-boots-on-other-hardware",
    "a-real-machine-with-stacked-and-failing-disks",
    "quickstart",
  ],
};

const files = (folder: keyof typeof PAIRED) => PAIRED[folder].map((name) => `test/${folder}/${name}.test.ts`);
const LIMIT_MS = { system: 180_000, boot: 1_200_000 };

/** A project for the files of a folder that run alone, and NAME-paired for the others, which come first. */
function projects(folder: keyof typeof PAIRED) {
  const limits = (times: number) => ({
    testTimeout: times * LIMIT_MS[folder],
    hookTimeout: times * LIMIT_MS[folder],
  });
  const alone = {
    name: folder,
    include: [`test/${folder}/**/*.test.ts`],
    exclude: files(folder),
    fileParallelism: false,
  };
  const paired = { name: `${folder}-paired`, include: files(folder), maxWorkers: 2 };
  return [{ test: { ...alone, ...limits(1) } }, { test: { ...paired, ...limits(2) } }];
}

/** Keeps the order of the lists: a long file that starts last would run by itself. */
class LongestFirst extends BaseSequencer {
  override async sort(specifications: TestSpecification[]): Promise<TestSpecification[]> {
    const listed = Object.values(PAIRED).flat();
    const place = ({ moduleId }: TestSpecification) => listed.indexOf(basename(moduleId, ".test.ts"));
    return (await super.sort(specifications)).sort((left, right) => place(left) - place(right));
  }
}

// Cheapest first; `vitest run --project NAME` runs one alone, 'system*' and 'boot*' a folder's two.
export default defineConfig({
  test: {
    passWithNoTests: false,
    sequence: { sequencer: LongestFirst },
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 20_000 } },
      ...projects("system"),
      ...projects("boot"),
    ],
  },
});

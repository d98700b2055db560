import { rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateFolder, writeDurableFile } from "../../durable-file.ts";
import { formatBytes } from "../../units.ts";
import type { Probe } from "../probe.ts";

const LITTLE_BYTES = 10 * 1024 ** 3;

export const spaceProbe: Probe = {
  name: "store",
  neededFor: "keeping images",
  optional: false,
  async run(home) {
    await makePrivateFolder(home);
    const file = join(home, ".doctor");
    await writeDurableFile(file, "written by doppel doctor\n");
    await rm(file, { force: true });
    const space = await statfs(home);
    const free = space.bavail * space.bsize;
    const what = `${home} can be written, ${formatBytes(free)} free`;
    if (free >= LITTLE_BYTES) return { outcome: "ok", what };
    return { outcome: "degraded", what, mend: "export DOPPEL_HOME=/a/larger/disk" };
  },
};

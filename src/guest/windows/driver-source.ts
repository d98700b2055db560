import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { DoppelError, EXIT } from "../../errors.ts";
import { type Guestfish, ISO_DEVICE } from "../guestfish.ts";
import type { VirtioWin } from "../step.ts";

const ISO_MOUNT = "/virtio-win";
/** The ISO has some three thousand files. */
const MOST_FILES = 50_000;
const MOST_FILE_BYTES = 256 * 1024 * 1024;

/** The files of virtio-win. */
export interface DriverSource {
  /** Relative paths, `/` between the parts. */
  files: readonly string[];
  size(path: string): Promise<number>;
  read(path: string): Promise<Buffer>;
}

/** Lists what the ISO, which the appliance was started with, or the folder holds. Throws `virtio-win-unusable` (exit 2). */
export async function openDriverSource(
  guestfish: Guestfish,
  { path, kind }: VirtioWin,
): Promise<DriverSource> {
  return kind === "iso" ? await openIso(guestfish, path) : await openFolder(path);
}

async function openIso(guestfish: Guestfish, iso: string): Promise<DriverSource> {
  await guestfish.run("mkmountpoint", ISO_MOUNT);
  if ((await guestfish.tryRun("mount-ro", ISO_DEVICE, ISO_MOUNT)) === undefined)
    throw unusable(iso, "has no file system that can be read");
  const files = (await guestfish.lines("find", `${ISO_MOUNT}/`)).filter((path) => /\.[a-z0-9]+$/i.test(path));
  const read = async (path: string) => {
    const content = await guestfish.read(`${ISO_MOUNT}/${path}`);
    if (!content) throw unusable(iso, `holds ${path}, which cannot be read`);
    return content;
  };
  const size = async (path: string) => Number(await guestfish.run("filesize", `${ISO_MOUNT}/${path}`));
  return { files, size, read };
}

async function openFolder(folder: string): Promise<DriverSource> {
  const files: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    files.push(relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"));
    if (files.length > MOST_FILES) throw unusable(folder, `holds more than ${MOST_FILES} files`);
  }
  const size = async (path: string) => {
    const { size: bytes } = await stat(join(folder, path));
    if (bytes > MOST_FILE_BYTES)
      throw unusable(folder, `holds ${path} of ${bytes} bytes, which is no driver`);
    return bytes;
  };
  return { files, size, read: (path) => readFile(join(folder, path)) };
}

function unusable(path: string, why: string): DoppelError {
  return new DoppelError("virtio-win-unusable", `${path} ${why}`, {
    hint: "--virtio-win takes the virtio-win ISO or a folder with what is in it",
    exitCode: EXIT.usage,
  });
}

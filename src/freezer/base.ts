import { stat } from "node:fs/promises";
import { join } from "node:path";
import { makePrivateFolder } from "../durable-file.ts";
import { systemErrorCode } from "../errors.ts";
import { chooseFormat, exportDisk } from "../format/export.ts";
import type { WriteProgress } from "../format/format.ts";
import type { ImageStore, StoredImage } from "../store/image-store.ts";

export interface BaseOptions {
  onProgress?: (progress: WriteProgress) => void;
  signal?: AbortSignal;
}

/**
 * The disks of an image as qcow2 files in HOME/cache, made when they are not there. Named by the image's digest: a tag
 * that moves never gets the base of the image it pointed to before.
 */
export async function materialiseBase(
  store: ImageStore,
  image: StoredImage,
  options: BaseOptions,
): Promise<string[]> {
  const folder = join(store.home, "cache");
  await makePrivateFolder(folder);
  const paths: string[] = [];
  for (const index of image.config.doppel.disks.keys()) {
    const path = join(folder, `${image.digest.replace("sha256:", "")}-${index}.qcow2`);
    if (!(await exists(path))) await makeBase(store, image, index, path, options);
    paths.push(path);
  }
  return paths;
}

async function makeBase(
  store: ImageStore,
  image: StoredImage,
  index: number,
  path: string,
  options: BaseOptions,
) {
  await using disk = await store.openDisk(image, index);
  try {
    await exportDisk(disk, {
      path,
      format: chooseFormat("qcow2", path),
      openPack: (digest) => store.blobs.openBlob(digest),
      ...options,
    });
  } catch (error) {
    // Another process was faster: what it made is the same.
    if (systemErrorCode(error) !== "EEXIST") throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

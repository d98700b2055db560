import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "../../durable-file.ts";

/** Reads a file once for its size and its SHA-256. */
export async function digestFile(file: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** Makes a file that another program wrote private and durable. */
export async function syncFile(file: string): Promise<void> {
  await chmod(file, 0o600);
  const handle = await open(file, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Gives a copy that is whole its name, durably. */
export async function publishCopy(temporary: string, file: string): Promise<void> {
  await rename(temporary, file);
  await syncFolder(dirname(file));
}

import type { Guestfish } from "./guestfish.ts";
import { labelNew, makeFolderOf } from "./security-label.ts";
import type { ChangedFile } from "./step.ts";

/** Beside each file that a conversion changes lies what it was. */
export const ORIGINAL = ".doppel-original";

/** Writes a file of the guest, where links lead to it, and keeps what it was beside it, unless an earlier conversion has. */
export async function changeFile(
  guestfish: Guestfish,
  path: string,
  content: Buffer | string,
  mode = 0o644,
): Promise<ChangedFile> {
  const file = await guestfish.tryRun("realpath", path);
  if (file === undefined) {
    await makeFolderOf(guestfish, path);
    await guestfish.write(path, content, mode);
    await labelNew(guestfish, path, (mode & 0o100) !== 0);
    return { path, original: null };
  }
  const original = `${file}${ORIGINAL}`;
  if ((await guestfish.tryRun("exists", original)) !== "true") await guestfish.run("cp-a", file, original);
  await guestfish.write(file, content, mode);
  return { path: file, original };
}

/** Puts bytes behind what a file was before the first conversion, and keeps that beside it; the file itself is not read. */
export async function appendToFile(
  guestfish: Guestfish,
  path: string,
  addition: Buffer,
): Promise<ChangedFile> {
  const original = `${path}${ORIGINAL}`;
  const again = (await originalOf(guestfish, path)) === original;
  await guestfish.run("cp-a", ...(again ? [original, path] : [path, original]));
  await guestfish.append(path, addition);
  return { path, original };
}

/** Rewrites a text file as it is now: an earlier step of the same conversion may have changed it. */
export async function rewriteFile(
  guestfish: Guestfish,
  path: string,
  rewrite: (text: string) => string,
): Promise<ChangedFile[]> {
  const before = (await guestfish.read(path))?.toString("utf8");
  if (before === undefined) return [];
  const after = rewrite(before);
  return after === before ? [] : [await changeFile(guestfish, path, after)];
}

/** Takes a file or a link away; it stays beside where it was. */
export async function putAside(guestfish: Guestfish, path: string): Promise<ChangedFile> {
  const original = `${path}${ORIGINAL}`;
  await guestfish.run("mv", path, original);
  return { path, original };
}

/** The path of what a file was before the first conversion: a second one starts from there. */
export async function originalOf(guestfish: Guestfish, path: string): Promise<string> {
  return (await guestfish.tryRun("exists", `${path}${ORIGINAL}`)) === "true" ? `${path}${ORIGINAL}` : path;
}

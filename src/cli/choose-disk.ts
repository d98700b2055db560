import { DoppelError, EXIT } from "../errors.ts";
import type { StoredImage } from "../store/image-store.ts";

/** The disk that `--disk` means, by name or counted from 0; `disk-unknown` when it means none. */
export function chooseDisk(image: StoredImage, wanted: string | undefined): number {
  const names = image.config.doppel.disks.map((disk) => disk.name);
  if (wanted === undefined && names.length === 1) return 0;
  const named = names.indexOf(wanted ?? "");
  const index = named >= 0 ? named : Number(wanted ?? "none");
  if (Number.isInteger(index) && index >= 0 && index < names.length) return index;
  const what =
    wanted === undefined ? `the image has ${names.length} disks` : `the image has no disk '${wanted}'`;
  throw new DoppelError("disk-unknown", what, {
    hint: `choose one with --disk: ${names.join(", ")}`,
    exitCode: EXIT.usage,
  });
}

import type { MapPack } from "../image/disk-map.ts";

/** Numbers the packs of one image: those that are written now 0, 1, …, those that were there before -1, -2, … */
export class PackNumbers {
  readonly #there: MapPack[] = [];
  readonly #numbers = new Map<string, number>();

  /** The number of a pack that was there before. */
  numberOf(pack: MapPack): number {
    const known = this.#numbers.get(pack.digest);
    if (known !== undefined) return known;
    this.#there.push(pack);
    const number = -this.#there.length;
    this.#numbers.set(pack.digest, number);
    return number;
  }

  /** Finds packs by number, once those that were written have their digests. */
  withWritten(written: readonly MapPack[]): (number: number) => MapPack | undefined {
    return (number) => (number < 0 ? this.#there[-number - 1] : written[number]);
  }
}

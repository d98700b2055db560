import type { Catalog } from "./catalog.ts";
import type { VerifyReport } from "./verification.ts";

/** How the last `doppel images verify` of an image on this machine ended. */
export interface Verification {
  /** RFC 3339. */
  at: string;
  result: "whole" | "differs";
  frames: number;
  bytes: number;
}

/** Remembers how the verification of an image ended; of one that was removed meanwhile, nothing. */
export function recordVerification(catalog: Catalog, digest: string, verification: Verification): void {
  catalog.database
    .prepare(
      `INSERT OR REPLACE INTO verifications (digest, at, result, frames, bytes)
       SELECT digest, @at, @result, @frames, @bytes FROM images WHERE digest = @digest`,
    )
    .run({ digest, ...verification });
}

/**
 * Remembers what a verification of some images said of each of them. It speaks of the bytes on this machine, and therefore does
 * not travel with the image. A sample proves nothing whole.
 */
export function recordVerifications(
  catalog: Catalog,
  digests: readonly string[],
  { findings, findingCount, sample, frames, bytes }: VerifyReport,
): void {
  const at = new Date().toISOString();
  const hurt = new Set(findings.flatMap(({ images }) => images.map(({ digest }) => digest)));
  catalog.transaction(() => {
    for (const digest of digests) {
      const differs = hurt.has(digest) || (digests.length === 1 && findingCount > 0);
      // Of more findings than are listed it is not known whom they hurt.
      if (!differs && (sample !== null || findingCount > findings.length)) continue;
      recordVerification(catalog, digest, { at, result: differs ? "differs" : "whole", frames, bytes });
    }
  });
}

export function lastVerification(catalog: Catalog, digest: string): Verification | undefined {
  return catalog.database
    .prepare<[string], Verification>("SELECT at, result, frames, bytes FROM verifications WHERE digest = ?")
    .get(digest);
}

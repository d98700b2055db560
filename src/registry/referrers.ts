import { z } from "zod";
import { DoppelError } from "../errors.ts";
import { digestSchema, MAX_JSON_BLOB_BYTES, parseJsonBlob } from "../image/config.ts";
import { MEDIA_TYPES } from "../image/manifest.ts";
import { discard, headerOf, readBody } from "./http.ts";
import type { Repository } from "./repository.ts";

/** Of one image a registry may list more referrers than anybody reads, and in pages without an end. */
const MOST_REFERRERS = 1000;
const MOST_PAGES = 100;

const referrerSchema = z.looseObject({
  mediaType: z.string(),
  digest: digestSchema,
  size: z.number().int().nonnegative(),
  artifactType: z.string().optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
const indexSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(MEDIA_TYPES.index).optional(),
  manifests: z.array(referrerSchema),
});

/** What refers to an image, as a registry lists it. */
export type Referrer = z.infer<typeof referrerSchema>;

/**
 * What refers to an image in a repository (OCI distribution specification, "Listing Referrers"): by the referrers API, and
 * where the registry has none by the index under the fallback tag.
 */
export async function listReferrers(repository: Repository, digest: string): Promise<Referrer[]> {
  const doing = `asking ${repository.registry} what refers to ${digest}`;
  const found: Referrer[] = [];
  let path: string | URL | undefined = `referrers/${digest}`;
  for (let page = 1; path !== undefined; page++) {
    const headers = { accept: MEDIA_TYPES.index };
    // A registry that knows nothing of referrers answers in several ways.
    const response = await repository.expect({ method: "GET", path, headers }, [200, 400, 404, 405], doing);
    const isIndex = headerOf(response, "content-type")?.startsWith(MEDIA_TYPES.index) === true;
    if (response.status !== 200 || !isIndex) {
      await discard(response);
      return refuseTooMany((await readFallback(repository, digest)).manifests, doing);
    }
    found.push(...parseIndex(await readBody(response, MAX_JSON_BLOB_BYTES), doing).manifests);
    path = nextPage(headerOf(response, "link"), response.url);
    if (page > MOST_PAGES) throw tooLong(doing);
    refuseTooMany(found, doing);
  }
  return found;
}

function tooLong(doing: string): DoppelError {
  return new DoppelError("registry-answer", `${doing}: its list is longer than anybody reads`);
}

function refuseTooMany(found: Referrer[], doing: string): Referrer[] {
  if (found.length <= MOST_REFERRERS) return found;
  throw tooLong(doing);
}

/** Adds a referrer to the fallback tag's index ("Pushing Manifests with Subject"), for a registry without the API. */
export async function addToFallback(
  repository: Repository,
  subject: string,
  referrer: Referrer,
): Promise<void> {
  const index = await readFallback(repository, subject);
  if (index.manifests.some(({ digest }) => digest === referrer.digest)) return;
  const manifests = [...index.manifests, referrer];
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }));
  await repository.putManifest(fallbackTag(subject), bytes, MEDIA_TYPES.index);
}

async function readFallback(repository: Repository, digest: string): Promise<{ manifests: Referrer[] }> {
  const manifest = await repository.manifest(fallbackTag(digest));
  if (!manifest) return { manifests: [] };
  return parseIndex(manifest.bytes, `the index ${repository.name}:${fallbackTag(digest)}`);
}

function fallbackTag(digest: string): string {
  return digest.replace(":", "-");
}

/** Parses an index of referrers; `index-corrupt` says what does not fit. */
export function parseIndex(bytes: Buffer, what: string): z.infer<typeof indexSchema> {
  return parseJsonBlob(bytes, indexSchema, "index-corrupt", what);
}

/** RFC 8288: `<URL>; rel="next"`. */
function nextPage(link: string | undefined, base: URL): URL | undefined {
  const target = /^<([^>]+)>;[^,]*rel="?next"?/.exec(link ?? "")?.[1];
  if (target === undefined) return undefined;
  const url = URL.canParse(target, base.href) ? new URL(target, base) : undefined;
  if (url?.origin === base.origin) return url;
  throw new DoppelError(
    "registry-answer",
    `${base.host} continues its list at an address that is not allowed`,
  );
}

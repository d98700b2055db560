import { DoppelError, EXIT } from "../errors.ts";

/** An image's name: `[registry.host[:port]/]name[:tag][@sha256:digest]`. */
export interface Reference {
  registry?: string;
  name: string;
  tag: string;
  /** `sha256:` and 64 hexadecimal digits; when there, it alone decides which image is meant. */
  digest?: string;
}

const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const REGISTRY =
  /^(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:)|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;

/** Parses a REF (OCI distribution specification, "Pulling manifests", for names and tags); `usage` when it is not one. */
export function parseReference(text: string): Reference {
  const [beforeDigest = "", digest, ...more] = text.split("@");
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) {
    throw invalid(text, "its digest is not 'sha256:' and 64 hexadecimal digits");
  }
  const { registry, rest } = splitRegistry(beforeDigest);
  const colon = rest.lastIndexOf(":");
  const name = colon < 0 ? rest : rest.slice(0, colon);
  const tag = colon < 0 ? "latest" : rest.slice(colon + 1);
  if (name.length > 255 || !NAME.test(name)) {
    throw invalid(text, "a name is lower-case letters and digits, separated by one of . _ - or /");
  }
  if (!TAG.test(tag)) throw invalid(text, "a tag is at most 128 letters, digits, and . _ -");
  return {
    name,
    tag,
    ...(registry === undefined ? {} : { registry }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** Parses a REF that something new is kept under: a local name and tag, no registry, no digest. */
export function parseLocalReference(text: string): Reference {
  const reference = parseReference(text);
  if (reference.registry === undefined && reference.digest === undefined) return reference;
  throw new DoppelError(
    "reference-invalid",
    `'${text}' cannot be made here: a new image has a local name and tag`,
    {
      hint: "leave out the registry and the digest",
      exitCode: EXIT.usage,
    },
  );
}

/** The reference as text, with its tag, and its digest where it has one. */
export function formatReference(reference: Reference): string {
  const registry = reference.registry === undefined ? "" : `${reference.registry}/`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${registry}${reference.name}:${reference.tag}${digest}`;
}

function splitRegistry(text: string): { registry?: string; rest: string } {
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  if (first !== "" && REGISTRY.test(first)) return { registry: first, rest: text.slice(slash + 1) };
  return { rest: text };
}

function invalid(text: string, why: string): DoppelError {
  return new DoppelError("reference-invalid", `'${text}' is not an image name: ${why}`, {
    hint: "write it like web1, web1:monday or registry.example.org/site/web1:monday",
    exitCode: EXIT.usage,
  });
}

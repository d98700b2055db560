import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { DoppelError, EXIT, wrapError } from "../../errors.ts";
import { PlacedYaml, type YamlProblem } from "./positions.ts";
import { placedProblems } from "./problems.ts";
import { type FarmSpec, farmSchema } from "./schema.ts";

const MOST_BYTES = 1024 * 1024;
const MOST_SHOWN = 5;

/** A farm as its file describes it. */
export interface Farm {
  /** Absolute. */
  path: string;
  /** `sha256:…` of the file's bytes. */
  digest: string;
  spec: FarmSpec;
  /** A path of the file, which is relative to its folder, made absolute. */
  resolve(path: string): string;
}

/** Reads a farm file. Throws `farm-file-invalid` (exit 2) with line and column of all that is wrong. */
export async function loadFarm(path: string): Promise<Farm> {
  const absolute = resolve(path);
  const bytes = await readFile(absolute).catch((error: unknown) => {
    throw wrapError(error, "farm-file-invalid", `the farm file ${path} cannot be read`);
  });
  if (bytes.length > MOST_BYTES)
    throw invalid(path, [{ line: 1, column: 1, message: "it is larger than 1 MiB" }]);
  return {
    path: absolute,
    digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
    spec: parseFarm(bytes.toString("utf8"), path),
    resolve: (relative) => resolve(dirname(absolute), relative),
  };
}

/** Reads the text of a farm file; `path` is for messages. */
export function parseFarm(text: string, path: string): FarmSpec {
  const yaml = PlacedYaml.parse(text);
  if (yaml.problems.length > 0) throw invalid(path, yaml.problems);
  const result = farmSchema.safeParse(yaml.value);
  if (!result.success) throw invalid(path, placedProblems(result.error.issues, yaml));
  return result.data;
}

function invalid(path: string, problems: readonly YamlProblem[]): DoppelError {
  const shown = problems
    .slice(0, MOST_SHOWN)
    .map(({ line, column, message }) => `${path}:${line}:${column}: ${message}`);
  const more = problems.length - shown.length;
  return new DoppelError(
    "farm-file-invalid",
    [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join("\n"),
    {
      hint: "docs/farm.md describes the file; editors complete it by docs/farm.schema.json",
      exitCode: EXIT.usage,
      details: { problems },
    },
  );
}

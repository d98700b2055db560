import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { isNode, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { DoppelError, EXIT, systemErrorCode, wrapError } from "../errors.ts";
import { formatReference, type Reference } from "../image/reference.ts";
import { namePattern } from "../store/name-pattern.ts";
import { parsePublicKey, readPublicKey, type TrustedKey } from "./keys.ts";

const ruleSchema = z
  .strictObject({
    /** Names as they are given on the command line, tag included; `*` stands for any characters. */
    images: z.array(z.string().min(1)).min(1),
    require: z.enum(["signature", "nothing"]),
    keys: z.array(z.string()).min(1).optional(),
    /** What the signer must have taken the image for. */
    identity: z.string().min(1).optional(),
  })
  .refine((rule) => rule.require === "nothing" || rule.keys !== undefined, {
    message: "a rule that requires a signature names the keys",
    path: ["require"],
  });

const policySchema = z.strictObject({
  version: z.literal(1),
  /** By name: a file beside the policy, or the PEM text. */
  keys: z.record(z.string(), z.string()).optional(),
  /** What becomes of images that no rule names. */
  default: z.enum(["accept", "refuse"]),
  rules: z.array(ruleSchema),
});

/** What is demanded of the signatures of an image. */
export type Demand =
  | { require: "nothing" }
  | { require: "refusal"; why: string }
  | { require: "signature"; keys: TrustedKey[]; identity?: string; why: string };

/** Which images need signatures by which keys; docs/trust.md. */
export interface Policy {
  demandFor(reference: Reference): Demand;
}

/**
 * The policy in `path`, or in HOME/policy.yaml when there is one. Throws `policy-invalid` (exit 2) with the line that does not
 * fit: a policy that is not understood protects nothing.
 */
export async function readPolicy(home: string, path?: string): Promise<Policy | undefined> {
  const file = path === undefined ? join(home, "policy.yaml") : resolve(path);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (path === undefined && systemErrorCode(error) === "ENOENT") return undefined;
    throw wrapError(error, "policy-invalid", `the policy ${file} cannot be read`);
  }
  return await parsePolicy(text, file);
}

/** Parses a policy (YAML, which JSON is a part of); its keys are read from beside `file`. */
export async function parsePolicy(text: string, file: string): Promise<Policy> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [flaw] = document.errors;
  if (flaw) throw invalid(file, lines.linePos(flaw.pos[0]).line, flaw.message);
  const lineOf = (path: readonly PropertyKey[]): number => {
    for (let length = path.length; length >= 0; length--) {
      const node = document.getIn(path.slice(0, length), true);
      if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
    }
    return 1;
  };
  const parsed = policySchema.safeParse(document.toJS());
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const path = [
      ...(issue?.path ?? []),
      ...(issue?.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : []),
    ];
    throw invalid(file, lineOf(path), `${path.map(String).join(".") || "the file"}: ${issue?.message}`);
  }
  const keys = new Map<string, TrustedKey>();
  for (const [name, value] of Object.entries(parsed.data.keys ?? {}))
    keys.set(
      name,
      await readKey(name, value, file).catch((error) =>
        Promise.reject(at(error, file, lineOf(["keys", name]))),
      ),
    );
  const rules = parsed.data.rules.map((rule, index) => ({
    ...rule,
    matches: rule.images.map(namePattern),
    keys: (rule.keys ?? []).map((name, number) => {
      const key = keys.get(name);
      if (key) return key;
      throw invalid(file, lineOf(["rules", index, "keys", number]), `there is no key '${name}' under keys`);
    }),
  }));
  return {
    demandFor: ({ digest: _, ...reference }) => {
      const name = formatReference(reference);
      const rule = rules.find(({ matches }) => matches.some((test) => test(name)));
      if (!rule && parsed.data.default === "accept") return { require: "nothing" };
      if (!rule) return { require: "refusal", why: `no rule of ${file} names ${name}` };
      if (rule.require === "nothing") return { require: "nothing" };
      const identity = rule.identity === undefined ? {} : { identity: rule.identity };
      return { require: "signature", keys: rule.keys, ...identity, why: `${file} demands it of ${name}` };
    },
  };
}

async function readKey(name: string, value: string, file: string): Promise<TrustedKey> {
  if (value.includes("-----BEGIN")) return parsePublicKey(value, name);
  return { ...(await readPublicKey(resolve(dirname(file), value))), label: name };
}

function at(error: unknown, file: string, line: number): DoppelError {
  return wrapError(error, "policy-invalid", `${file}:${line}`);
}

function invalid(file: string, line: number, what: string): DoppelError {
  return new DoppelError("policy-invalid", `${file}:${line}: ${what}`, {
    hint: "docs/trust.md says how a policy is written",
    exitCode: EXIT.usage,
  });
}

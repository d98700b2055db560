import { z } from "zod";
import { farmSchema } from "./schema.ts";

interface SchemaNode {
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
  oneOf?: SchemaNode[];
  anyOf?: SchemaNode[];
  const?: unknown;
  [member: string]: unknown;
}

/** The JSON Schema (2020-12) of farm.yaml, as editors use it. */
export function farmJsonSchema(): SchemaNode {
  return z.toJSONSchema(farmSchema, { io: "input" }) as SchemaNode;
}

/** The keys that a mapping at `path` of `value` may have. */
export function allowedKeys(path: readonly PropertyKey[], value: unknown): string[] {
  let node: SchemaNode | undefined = farmJsonSchema();
  let at = value;
  for (const step of path) {
    node = typeof step === "number" ? node?.items : node?.properties?.[String(step)];
    at = typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[step] : undefined;
    node = chosenVariant(node, at);
  }
  return Object.keys(node?.properties ?? {});
}

/** Of several variants, the one whose constant members the value has. */
function chosenVariant(node: SchemaNode | undefined, value: unknown): SchemaNode | undefined {
  const variants = node?.oneOf ?? node?.anyOf;
  if (!variants || typeof value !== "object" || value === null) return node;
  const members = value as Record<string, unknown>;
  return variants.find((variant) => {
    const constants = Object.entries(variant.properties ?? {}).filter(
      ([, member]) => "const" in member || "enum" in member,
    );
    return constants.every(([key, member]) => {
      if (members[key] === undefined) return true;
      return "const" in member
        ? member.const === members[key]
        : (member.enum as unknown[]).includes(members[key]);
    });
  });
}

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseReference } from "../../../src/image/reference.ts";
import { makeKeyPair } from "../../../src/trust/keys.ts";
import { type Policy, parsePolicy, readPolicy } from "../../../src/trust/policy.ts";

let folder: string;
let file: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "doppel-policy-"));
  file = join(folder, "policy.yaml");
  await makeKeyPair(join(folder, "release"), undefined);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const POLICY = `version: 1
keys:
  release: release.pub
default: refuse
rules:
  - images: ["base:*", "registry.example.org/site/*"]
    require: signature
    keys: [release]
    identity: registry.example.org/site/*
  - images: ["scratch/*"]
    require: nothing
`;

const demandFor = (policy: Policy, name: string) => policy.demandFor(parseReference(name));

describe("a policy", () => {
  it("demands what the first rule that names an image says, else its default", async () => {
    const policy = await parsePolicy(POLICY, file);
    const signed = {
      require: "signature",
      keys: [{ label: "release" }],
      identity: "registry.example.org/site/*",
    };
    expect(demandFor(policy, "base:stable")).toMatchObject(signed);
    expect(demandFor(policy, `registry.example.org/site/web1@sha256:${"a".repeat(64)}`)).toMatchObject(
      signed,
    );
    expect(demandFor(policy, "scratch/web1")).toEqual({ require: "nothing" });
    expect(demandFor(policy, "web1")).toMatchObject({
      require: "refusal",
      why: expect.stringContaining("web1:latest"),
    });
    const lax = await parsePolicy(POLICY.replace("default: refuse", "default: accept"), file);
    expect(demandFor(lax, "web1")).toEqual({ require: "nothing" });
  });

  it("may lie in the store's folder or elsewhere, and may be missing there alone", async () => {
    expect(await readPolicy(join(folder, "elsewhere"))).toBeUndefined();
    await expect(readPolicy(folder, join(folder, "no-such.yaml"))).rejects.toMatchObject({ code: "ENOENT" });
    writeFileSync(file, POLICY);
    expect(await readPolicy(folder)).toBeDefined();
  });

  it.each([
    ["an unknown member", POLICY.replace("    require: nothing", "    requires: nothing"), 10],
    ["a rule without keys", POLICY.replace("    keys: [release]\n", ""), 7],
    ["a key that is not declared", POLICY.replace("[release]", "[releese]"), 8],
    ["a key file that is missing", POLICY.replace("release.pub", "gone.pub"), 3],
    ["a private key", POLICY.replace("release.pub", "release.key"), 3],
    ["another version", POLICY.replace("version: 1", "version: 2"), 1],
    ["another default", POLICY.replace("refuse", "sometimes"), 4],
    ["what is no YAML", POLICY.replace("rules:", "rules: ]"), 5],
    ["a member twice", POLICY.replace("default: refuse", "default: refuse\ndefault: accept"), 5],
  ])("with %s is refused, and the line named", async (_, text, line) => {
    await expect(parsePolicy(text, file)).rejects.toMatchObject({
      message: expect.stringContaining(`policy.yaml:${line}: `),
      exitCode: expect.any(Number),
    });
  });
});

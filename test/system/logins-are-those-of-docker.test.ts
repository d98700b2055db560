import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Registry } from "../../fixtures/registry.ts";
import { TokenServer } from "../../fixtures/token-server.ts";
import { Doppel, possible, Source } from "./doppel.ts";

const PASSWORD = "a word of the tests";
const IDENTITY = "an-identity-token-of-the-tests";

describe.skipIf(!possible)("a registry that wants tokens", () => {
  const doppel = new Doppel();
  const home = mkdtempSync(join(tmpdir(), "doppel-user-"));
  const docker = join(home, ".docker");
  let tokens: TokenServer;
  let registry: Registry;
  let source: Source;

  const push = (path = process.env.PATH ?? "") =>
    doppel.runAs(
      { HOME: home, DOCKER_CONFIG: docker, PATH: path },
      "push",
      "small",
      `${registry.host}/site/small`,
      "--verbose",
    );
  const configure = (config: unknown) => writeFileSync(join(docker, "config.json"), JSON.stringify(config));

  beforeAll(async () => {
    mkdirSync(docker);
    tokens = await TokenServer.start({ basic: `pusher:${PASSWORD}`, identityToken: IDENTITY });
    [registry, source] = await Promise.all([Registry.start({ tokens }), Source.start(2)]);
    await doppel.json(...source.capture, "--name", "small");
  });

  beforeEach(() => {
    rmSync(join(docker, "config.json"), { force: true });
    tokens.granted.length = 0;
    tokens.lifeSeconds = 300;
  });

  afterAll(async () => {
    await source?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await tokens?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(home, { recursive: true, force: true });
  });

  /** A credential helper, and a PATH with it. */
  function helper(script: string): string {
    const folder = join(home, "bin");
    mkdirSync(folder, { recursive: true });
    const path = join(folder, "docker-credential-tests");
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return `${folder}:${process.env.PATH}`;
  }

  it("lets in who has a password in docker's configuration, with one token for all it does", async () => {
    const auth = Buffer.from(`pusher:${PASSWORD}`).toString("base64");
    configure({ auths: { [registry.host]: { auth } } });
    expect(await push()).toMatchObject({ code: 0 });
    expect(tokens.granted).toEqual([{ by: "basic", scope: "repository:site/small:pull,push" }]);
  });

  it("lets in who has an identity token", async () => {
    configure({ auths: { [registry.host]: { identitytoken: IDENTITY } } });
    expect(await push()).toMatchObject({ code: 0 });
    expect(tokens.granted).toMatchObject([{ by: "identity token" }]);
  });

  it("asks a credential helper, which gets the registry's name on its standard input", async () => {
    configure({ credHelpers: { [registry.host]: "tests" } });
    const asked = join(home, "asked");
    const answer = JSON.stringify({ ServerURL: "x", Username: "pusher", Secret: PASSWORD });
    expect(await push(helper(`cat >${asked}; echo '${answer}'`))).toMatchObject({ code: 0 });
    expect(readFileSync(asked, "utf8")).toBe(registry.host);
    expect(tokens.granted).toMatchObject([{ by: "basic" }]);
  });

  it("says what is wrong with a helper that fails, is missing, or cannot be one; its words are not printed", async () => {
    configure({ credsStore: "tests" });
    const failing = await push(helper(`cat >/dev/null; echo 'not JSON: ${PASSWORD}'`));
    expect(failing).toMatchObject({ code: 1, stderr: expect.stringContaining("[credential-helper-failed]") });
    expect(failing.stderr).not.toContain(PASSWORD);
    configure({ credsStore: "missing" });
    expect((await push()).stderr).toContain("docker-credential-missing is not installed");
    configure({ credsStore: "../../bin/sh" });
    expect((await push()).stderr).toContain("[docker-config-invalid]");
  });

  it("lets nobody in whose helper has nothing, whose password is wrong, or who has none", async () => {
    const denied = { code: 1, stderr: expect.stringMatching(/\[registry-(unauthorized|denied)\]/) };
    configure({ credsStore: "tests" });
    const nothing = "cat >/dev/null; echo 'credentials not found in native keychain'; exit 1";
    expect(await push(helper(nothing))).toMatchObject(denied);
    configure({ auths: { [registry.host]: { auth: Buffer.from("pusher:wrong").toString("base64") } } });
    expect(await push()).toMatchObject(denied);
    configure({});
    expect(await push()).toMatchObject(denied);
  });

  it("does not see what is in a configuration that cannot be read", async () => {
    writeFileSync(join(docker, "config.json"), `{ "auths": ${PASSWORD}`);
    const result = await push();
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[docker-config-invalid]") });
    expect(result.stderr).not.toContain(PASSWORD);
  });
});

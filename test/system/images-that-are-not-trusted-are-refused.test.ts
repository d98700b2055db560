import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Registry } from "../../fixtures/registry.ts";
import { RegistryContent } from "../../fixtures/registry-content.ts";
import { Doppel, must, possible, runCommand, Source } from "./doppel.ts";

const SIGNATURE = "dev.cosignproject.cosign/signature";

/** Every command that starts, opens or hands out what an image holds. */
function uses(image: string, folder: string): string[][] {
  return [
    ["thaw", image],
    ["export", image, "-o", join(folder, "refused.qcow2")],
    ["convert", image, "--to", "kvm", "--name", "refused:child"],
    ["serve", image, "--socket", join(folder, "refused.sock")],
    ["boot-test", image],
    // Refused before the registry is asked: nothing listens there.
    ["push", image, "127.0.0.1:9/disks/refused:one", "--as", "containerdisk"],
  ];
}

interface Shown {
  digest: string;
  manifest: { config: { digest: string }; layers: { digest: string; size: number }[] };
}

describe.skipIf(!possible)("an image in a registry", () => {
  const doppel = new Doppel();
  let registry: Registry;
  let source: Source;
  let web: Shown;

  const file = (name: string) => join(doppel.home, name);
  const remote = (name: string) => `${registry.host}/${name}`;
  const refused = (code: string) => ({ code: 3, stderr: expect.stringContaining(`[${code}]`) });

  beforeAll(async () => {
    [registry, source] = await Promise.all([Registry.start(), Source.start(4)]);
    await doppel.json(...source.capture, "--name", "site/web1:monday");
    web = (await doppel.json("images", "show", "site/web1:monday")) as unknown as Shown;
    for (const name of ["release", "other"])
      await doppel.json("images", "keygen", "--no-passphrase", "-o", file(name));
    await doppel.json("push", "site/web1:monday", remote("unsigned/web1:monday"));
    await doppel.json("images", "sign", remote("site/web1:monday"), "--key", file("release.key"));
    await doppel.json("push", "site/web1:monday", remote("site/web1:monday"));
  });

  afterAll(async () => {
    await source?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  /** What skopeo finds of signatures where it is told to look for them: the JSON of each (containers/image, sigstore format). */
  async function skopeoFinds(
    name: string,
  ): Promise<{ mimeType: string; payload: string; annotations: Record<string, string> }[]> {
    const settings = file(`skopeo-${name.replace(/\W/g, "-")}`);
    mkdirSync(join(settings, "registries.d"), { recursive: true });
    const attachments = { docker: { [registry.host]: { "use-sigstore-attachments": true } } };
    writeFileSync(join(settings, "registries.d", "tests.yaml"), JSON.stringify(attachments));
    const options = ["--insecure-policy", "--registries.d", join(settings, "registries.d")];
    const copy = ["copy", "-q", "--src-tls-verify=false", `docker://${remote(name)}`, `dir:${settings}/copy`];
    await must("skopeo", ...options, ...copy);
    const files = readdirSync(join(settings, "copy")).filter((one) => one.startsWith("signature-"));
    return files.map((one) => {
      const text = readFileSync(join(settings, "copy", one), "latin1");
      expect(text.split("\n")[0]).toBe("\0sigstore-json");
      return JSON.parse(text.slice(text.indexOf("\n")));
    });
  }

  it("that was signed here has a signature that skopeo finds and openssl verifies", async () => {
    expect(await skopeoFinds("unsigned/web1:monday")).toEqual([]);
    const [found, ...more] = await skopeoFinds("site/web1:monday");
    expect(more).toEqual([]);
    expect(found?.mimeType).toBe("application/vnd.dev.cosign.simplesigning.v1+json");
    writeFileSync(file("payload"), Buffer.from(found?.payload ?? "", "base64"));
    writeFileSync(file("signature"), Buffer.from(found?.annotations[SIGNATURE] ?? "", "base64"));
    const verify = (key: string) => [
      "dgst",
      "-sha256",
      "-verify",
      file(`${key}.pub`),
      "-signature",
      file("signature"),
    ];
    expect(await must("openssl", ...verify("release"), file("payload"))).toContain("Verified OK");
    expect((await runCommand("openssl", [...verify("other"), file("payload")])).code).toBe(1);
    expect(JSON.parse(readFileSync(file("payload"), "utf8"))).toMatchObject({
      critical: {
        identity: { "docker-reference": remote("site/web1:monday") },
        image: { "docker-manifest-digest": web.digest },
        type: "cosign container image signature",
      },
    });
  });

  it("is pulled with --require-signature when that key signed it, else before its disks are fetched", async () => {
    using other = new Doppel();
    const pull = (name: string, key: string) =>
      other.run("pull", remote(name), "a:b", "--require-signature", file(`${key}.pub`));
    expect(await pull("site/web1:monday", "other")).toMatchObject(refused("signature-missing"));
    expect(await pull("unsigned/web1:monday", "release")).toMatchObject(refused("signature-missing"));
    const blobs = readdirSync(join(other.home, "store/blobs/sha256"));
    const sizes = blobs.map((name) => statSync(join(other.home, "store/blobs/sha256", name)).size);
    expect(Math.max(...sizes)).toBeLessThan(100_000);
    expect(await pull("site/web1:monday", "release")).toMatchObject({ code: 0 });
    const thaw = ["thaw", "a:b", "--require-signature", file("other.pub")];
    expect(await other.run(...thaw)).toMatchObject(refused("signature-missing"));
    const show = await other.json("images", "signatures", "a:b", "--require-signature", file("release.pub"));
    expect(show).toMatchObject({ verified: true, signatures: [expect.anything()] });
  });

  it("may have been signed by another tool, under the tag that such tools use", async () => {
    const content = new RegistryContent(registry.host, "elsewhere/web1");
    await doppel.json("images", "tag", "site/web1:monday", "plain:one");
    using plain = new Doppel();
    await plain.json("pull", remote("unsigned/web1:monday"), "plain:one");
    await plain.json("push", "plain:one", remote("elsewhere/web1:one"));
    const critical = {
      identity: { "docker-reference": "elsewhere/web1" },
      image: { "docker-manifest-digest": web.digest },
      type: "cosign container image signature",
    };
    const payload = Buffer.from(JSON.stringify({ critical, optional: null }));
    writeFileSync(file("foreign"), payload);
    await must(
      "openssl",
      "dgst",
      "-sha256",
      "-sign",
      file("other.key"),
      "-out",
      file("foreign.sig"),
      file("foreign"),
    );
    const layer = await content.putBlob(payload, "application/vnd.dev.cosign.simplesigning.v1+json");
    const signed = {
      ...layer,
      annotations: { [SIGNATURE]: readFileSync(file("foreign.sig")).toString("base64") },
    };
    const config = await content.putBlob(Buffer.from("{}"), "application/vnd.oci.image.config.v1+json");
    await content.putManifest({ config, layers: [signed] }, `${web.digest.replace(":", "-")}.sig`);
    using other = new Doppel();
    const pull = ["pull", remote("elsewhere/web1:one"), "--require-signature"];
    expect(await other.run(...pull, file("release.pub"))).toMatchObject(refused("signature-missing"));
    expect(await other.json(...pull, file("other.pub"))).toMatchObject({ attachments: 1 });
    expect(await other.json(...pull, file("other.pub"))).toMatchObject({ attachments: 0 });
  });

  it("is held to the policy of the store by every command that uses it", async () => {
    using other = new Doppel();
    copyFileSync(file("release.pub"), join(other.home, "release.pub"));
    const rule = { images: [`${registry.host}/site/*`, "site/*"], require: "signature", keys: ["release"] };
    const policy = { version: 1, keys: { release: "release.pub" }, default: "refuse", rules: [rule] };
    writeFileSync(join(other.home, "policy.yaml"), JSON.stringify(policy));
    expect(await other.run("pull", remote("unsigned/web1:monday"))).toMatchObject(refused("policy-refused"));
    await other.json("pull", remote("site/web1:monday"));
    await other.json("export", "site/web1:monday", "-o", join(other.home, "a.qcow2"));
    await other.json("images", "tag", "site/web1:monday", "mine");
    for (const words of uses("mine", other.home))
      expect(await other.run(...words), words[0]).toMatchObject(refused("policy-refused"));
    expect(readdirSync(other.home).filter((name) => name.startsWith("refused"))).toEqual([]);
    writeFileSync(join(other.home, "policy.yaml"), "version: 1\ndefault: accept\nrules: []\nmore: 1\n");
    const unclear = await other.run("thaw", "mine");
    expect(unclear).toMatchObject({ code: 2, stderr: expect.stringContaining("policy.yaml:4: more") });
  });

  it("that was changed here is refused: manifest, config, map and pack", async () => {
    using other = new Doppel();
    await other.json("pull", remote("site/web1:monday"));
    const path = (digest: string) => join(other.home, "store/blobs/sha256", digest.replace("sha256:", ""));
    const [map, pack] = web.manifest.layers;
    for (const digest of [web.digest, web.manifest.config.digest, map?.digest ?? ""]) {
      const good = readFileSync(path(digest));
      // A change that leaves JSON valid and every number plausible.
      const bad =
        digest === map?.digest ? flip(good, good.length - 40) : Buffer.concat([good, Buffer.from(" ")]);
      writeFileSync(path(digest), bad);
      expect(await other.run("thaw", "site/web1:monday")).toMatchObject(refused("image-tampered"));
      writeFileSync(path(digest), good);
    }
    writeFileSync(path(pack?.digest ?? ""), flip(readFileSync(path(pack?.digest ?? "")), 1000));
    const exported = await other.run("export", "site/web1:monday", "-o", join(other.home, "a.qcow2"));
    expect(exported).toMatchObject({ code: 1, stderr: expect.stringContaining(pack?.digest ?? "") });
    expect(readdirSync(other.home)).not.toContain("a.qcow2");
  });

  it("that was revoked is refused wherever it is pulled, again or for the first time, until that is taken back", async () => {
    using early = new Doppel();
    await early.json("pull", remote("site/web1:monday"));
    const revoke = ["images", "revoke", "site/web1:monday"];
    await doppel.json(...revoke, "--why", "a hole in its web server", "--key", file("release.key"));
    await doppel.json("push", "site/web1:monday", remote("site/web1:monday"));
    using late = new Doppel();
    for (const other of [early, late]) {
      const pulled = await other.run("pull", remote("site/web1:monday"));
      expect(pulled).toMatchObject({ code: 0, stderr: expect.stringContaining("a hole in its web server") });
      const thawed = await other.run("thaw", "site/web1:monday");
      expect(thawed).toMatchObject(refused("image-revoked"));
      expect(thawed.stderr).toContain("a hole in its web server");
    }
    expect(await late.json("images", "ls", "--filter", "revoked=yes")).toHaveLength(1);
    const output = join(late.home, "a.qcow2");
    await late.json("export", "site/web1:monday", "-o", output, "--allow-revoked");
    expect(await late.run(...revoke, "--undo")).toMatchObject(refused("revocation-signed"));
    await doppel.json(...revoke, "--undo", "--key", file("release.key"));
    await doppel.json("push", "site/web1:monday", remote("site/web1:monday"));
    await late.json("pull", remote("site/web1:monday"));
    await late.json("export", "site/web1:monday", "-o", output, "--force");
  });
});

describe.skipIf(!possible)("an image that is revoked", () => {
  it("names what was made from it and the machines that run on it", async () => {
    using doppel = new Doppel();
    await using source = await Source.start(2);
    await doppel.json(...source.capture, "--name", "parent");
    const socket = join(doppel.home, "nbd.sock");
    const serving = doppel.start("serve", "parent", "--writable", "--name", "child:one", "--socket", socket);
    const size = () => runCommand("nbdinfo", ["--size", `nbd+unix:///?socket=${socket}`]);
    await expect.poll(async () => (await size()).code, { timeout: 30_000 }).toBe(0);
    await must("qemu-io", "-f", "raw", "-c", "write -P 7 0 64k", `nbd+unix:///?socket=${socket}`);
    serving.child.kill("SIGINT");
    await serving.ended;
    const child = String((await doppel.json("images", "show", "child:one")).digest);
    const machine = join(doppel.home, "instances/web");
    mkdirSync(machine, { recursive: true });
    writeFileSync(join(machine, "instance.json"), JSON.stringify({ name: "web", imageDigest: child }));
    const revoke = ["images", "revoke", "parent", "--why", "it is old"];
    const dry = await doppel.json(...revoke, "--dry-run");
    expect(dry).toMatchObject({ children: [{ digest: child, names: ["child:one"], machines: ["web"] }] });
    expect(await doppel.json("images", "ls", "--filter", "revoked=yes")).toEqual([]);
    expect((await doppel.run(...revoke)).stdout).toContain(`child ${child} (child:one)`);
    for (const words of uses("child:one", doppel.home))
      expect(await doppel.run(...words), words[0]).toMatchObject({
        code: 3,
        stderr: expect.stringMatching(/made from.*it is old.*\[image-revoked\]/),
      });
  });
});

function flip(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 0xff;
  return changed;
}

import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Registry } from "../../fixtures/registry.ts";
import { Doppel, must, possible, runCommand, Source } from "./doppel.ts";

const LOGIN = { user: "pusher", password: "a word of the tests" };

describe.skipIf(!possible)("a registry with TLS that asks for a password", () => {
  const doppel = new Doppel();
  const home = mkdtempSync(join(tmpdir(), "doppel-user-"));
  let registry: Registry;
  let source: Source;
  let digest: string;

  const user = { HOME: home, DOCKER_CONFIG: join(home, ".docker") };
  const remote = (name: string) => `${registry.host}/${name}`;

  beforeAll(async () => {
    [registry, source] = await Promise.all([Registry.start({ tls: true, login: LOGIN }), Source.start(96)]);
    digest = String((await doppel.json(...source.capture, "--name", "web1:monday")).digest);
  });

  afterAll(async () => {
    await source?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(home, { recursive: true, force: true });
  });

  function trust(): void {
    const folder = join(home, ".config/containers/certs.d", registry.host);
    mkdirSync(folder, { recursive: true });
    copyFileSync(registry.authority, join(folder, "ca.crt"));
  }

  function logIn(password = LOGIN.password): void {
    mkdirSync(join(home, ".docker"), { recursive: true });
    const auth = Buffer.from(`${LOGIN.user}:${password}`).toString("base64");
    writeFileSync(
      join(home, ".docker/config.json"),
      JSON.stringify({ auths: { [registry.host]: { auth } } }),
    );
  }

  it("is refused while its certificate is not trusted; the message says where the authority belongs", async () => {
    const result = await doppel.runAs(user, "push", "web1:monday", remote("site/web1:monday"));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-certificate]") });
    expect(result.stderr).toContain(`certs.d/${registry.host}/ca.crt`);
  });

  it("lets nobody in without a login, nor with a wrong one; the password is not printed", async () => {
    trust();
    const nobody = await doppel.runAs(user, "push", "web1:monday", remote("site/web1:monday"));
    expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-unauthorized]") });
    expect(nobody.stderr).toContain("skopeo login");
    logIn("a wrong word");
    const wrong = await doppel.runAs(user, "push", "web1:monday", remote("site/web1:monday"), "--verbose");
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-unauthorized]") });
    expect(wrong.stderr).not.toContain("a wrong word");
  });

  it("takes an image whole, and the second time nothing", async () => {
    logIn();
    const first = await doppel.jsonAs(user, "push", "web1:monday", remote("site/web1:monday"));
    expect(first).toMatchObject({ digest });
    expect(first.sentBytes).toBe(first.totalBytes);
    const second = await doppel.jsonAs(user, "push", "web1:monday", remote("site/web1:tuesday"));
    expect(second).toMatchObject({ digest, sentBlobs: 0, sentBytes: 0 });
  });

  it("mounts what another of its repositories has", async () => {
    const options = ["--mount-from", "site/web1"];
    const report = await doppel.jsonAs(user, "push", "web1:monday", remote("site/copy:one"), ...options);
    expect(report).toMatchObject({ sentBlobs: 0, sentBytes: 0, mountedBlobs: report.blobs });
  });

  it("gives it back by tag and by digest: the same image, which verifies", async () => {
    using other = new Doppel();
    const report = await other.jsonAs(user, "pull", remote("site/web1:monday"));
    expect(report).toMatchObject({ ref: "site/web1:monday", digest });
    expect(report.receivedBytes).toBe(report.totalBytes);
    expect((await other.run("images", "verify", "site/web1:monday")).code).toBe(0);
    const again = await other.jsonAs(user, "pull", `${remote("site/web1")}@${digest}`, "mine:now");
    expect(again).toMatchObject({ ref: "mine:now", digest, receivedBytes: 0 });
  });

  it("serves other clients: skopeo copies it to another registry and back unchanged", async () => {
    await using second = await Registry.start();
    const from = ["--src-cert-dir", join(home, ".config/containers/certs.d", registry.host)];
    const login = ["--src-creds", `${LOGIN.user}:${LOGIN.password}`];
    await must(
      "skopeo",
      "copy",
      "-q",
      ...from,
      ...login,
      "--dest-tls-verify=false",
      `docker://${remote("site/web1:monday")}`,
      `docker://${second.host}/moved:one`,
    );
    using other = new Doppel();
    expect(await other.json("pull", `${second.host}/moved:one`)).toMatchObject({ digest });
    expect((await other.run("images", "verify", "moved:one")).code).toBe(0);
  });

  it("gives a child to who has the parent by its differences alone", async () => {
    using other = new Doppel();
    await other.jsonAs(user, "pull", remote("site/web1:monday"), "web1:monday");
    const socket = join(home, "nbd.sock");
    const serving = doppel.start(
      "serve",
      "web1:monday",
      "--writable",
      "--name",
      "web1:changed",
      "--socket",
      socket,
    );
    await expect
      .poll(async () => (await runCommand("nbdinfo", ["--size", `nbd+unix:///?socket=${socket}`])).code)
      .toBe(0);
    await must("qemu-io", "-f", "raw", "-c", "write -P 7 1M 64k", `nbd+unix:///?socket=${socket}`);
    serving.child.kill("SIGINT");
    await serving.ended;
    await doppel.jsonAs(user, "push", "web1:changed", remote("site/web1:changed"));
    const report = await other.jsonAs(user, "pull", remote("site/web1:changed"));
    expect(report.receivedBytes).toBeLessThan(1024 * 1024);
    expect((await other.run("images", "verify", "site/web1:changed")).code).toBe(0);
  });

  it("has an image that is damaged there refused, and nothing of it is kept", async () => {
    const shown = await doppel.json("images", "show", "web1:monday");
    const packs = (shown.manifest as { layers: { digest: string; size: number }[] }).layers;
    const pack = packs.reduce((largest, layer) => (layer.size > largest.size ? layer : largest));
    const path = registry.blobPath(pack.digest);
    const good = readFileSync(path);
    try {
      const bad = Buffer.from(good);
      bad[1000] = (bad[1000] ?? 0) ^ 1;
      writeFileSync(path, bad);
      using other = new Doppel();
      const flipped = await other.runAs(user, "pull", remote("site/web1:monday"));
      expect(flipped).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-content]") });
      expect(flipped.stderr).toContain(pack.digest);
      expect(await other.json("images", "ls")).toEqual([]);
      truncateSync(path, good.length - 100);
      const short = await other.runAs(user, "pull", remote("site/web1:monday"));
      expect(short.code).toBe(1);
      expect(await other.json("images", "ls")).toEqual([]);
    } finally {
      writeFileSync(path, good);
    }
  });

  it("has no such name: the message says so", async () => {
    const result = await doppel.runAs(user, "pull", remote("site/web1:sunday"));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-unknown]") });
  });

  it("holds something else under a name: it is not pulled", async () => {
    const folder = join(home, "foreign");
    await must("skopeo", "copy", "-q", `oci:${join(doppel.home, "store")}:web1:monday`, `dir:${folder}`);
    const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
    writeFileSync(join(folder, "manifest.json"), JSON.stringify({ ...manifest, artifactType: undefined }));
    const to = ["--dest-cert-dir", join(home, ".config/containers/certs.d", registry.host)];
    const login = ["--dest-creds", `${LOGIN.user}:${LOGIN.password}`];
    await must("skopeo", "copy", "-q", ...to, ...login, `dir:${folder}`, `docker://${remote("foreign:one")}`);
    const result = await doppel.runAs(user, "pull", remote("foreign:one"));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("[image-foreign]") });
  });
});

const OWN_ADDRESS = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

describe.skipIf(!possible || OWN_ADDRESS === undefined)("a registry without encryption", () => {
  it("is spoken to, when it is not on this machine's loopback, only when asked", async () => {
    await using registry = await Registry.start({ address: OWN_ADDRESS ?? "" });
    await using source = await Source.start(2);
    using doppel = new Doppel();
    await doppel.json(...source.capture, "--name", "small");
    const words = ["push", "small", `${registry.host}/small`];
    const refused = await doppel.run(...words);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("[registry-certificate]") });
    expect(refused.stderr).toContain("--plain-http");
    expect(await doppel.json(...words, "--plain-http")).toMatchObject({ ref: "small" });
  });
});

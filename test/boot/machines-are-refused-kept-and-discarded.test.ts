import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { Doppel, must, possible, runCommand, Source } from "../system/doppel.ts";

const NAME = "doppel-machine-test";
const OTHER = "doppel-machine-other";

async function virsh(...args: string[]): Promise<string> {
  return await must("virsh", "-q", "-c", "qemu:///system", ...args);
}

/** The image of a small disk with nothing to boot: what counts is the domain around it. */
describe.skipIf(!possible)("a thawed machine", () => {
  const doppel = new Doppel();
  let source: Source;

  beforeAll(async () => {
    await startLibvirt();
    source = await Source.start(8);
    await doppel.json(...source.capture, "--name", "small");
  });

  afterAll(async () => {
    for (const name of [NAME, OTHER]) {
      await runCommand("virsh", ["-c", "qemu:///system", "destroy", name]);
      await runCommand("virsh", ["-c", "qemu:///system", "undefine", "--nvram", name]);
    }
    await source[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  const thaw = (...flags: string[]) =>
    doppel.run("thaw", "small", "--name", NAME, "--memory", "128M", ...flags);
  const instances = () => {
    const folder = join(doppel.home, "instances");
    return existsSync(folder) ? readdirSync(folder) : [];
  };

  it.each([
    [["--memory", "900G"], 3, "memory-short"],
    [["--network", "no-such-network"], 3, "network-inactive"],
    [["--name", "no/such name"], 2, "is not a name"],
    [["--cpus", "0"], 2, "is not a number of processors"],
    [["--connect", "qemu+unix:///system?socket=/nowhere"], 1, "libvirt-unreachable"],
  ])("is refused with %j, and leaves nothing", async (flags, code, says) => {
    const result = await thaw(...flags);
    expect(result).toMatchObject({ code, stderr: expect.stringContaining(says) });
    expect(instances()).toEqual([]);
  });

  it("is refused when libvirt has a machine of that name that is not ours", async () => {
    const xml = join(source.image.folder, "foreign.xml");
    writeFileSync(
      xml,
      `<domain type="qemu"><name>${NAME}</name><uuid>${randomUUID()}</uuid><memory unit="MiB">64</memory>` +
        `<os><type arch="x86_64">hvm</type></os></domain>`,
    );
    await virsh("define", xml);
    const result = await thaw();
    expect(result).toMatchObject({ code: 3, stderr: expect.stringContaining("domain-exists") });
    expect((await virsh("list", "--all", "--name")).split("\n")).toContain(NAME);
    await virsh("undefine", NAME);
  });

  it("runs with the captured processors and addresses on an overlay; its base is kept for the next one", async () => {
    const { facts } = (await doppel.json("images", "show", "small")) as {
      facts: { hardware: { cpus: number }; nics: { kind: string; mac: string }[] };
    };
    const machine = await doppel.json("thaw", "small", "--name", NAME, "--memory", "128M");
    expect(machine).toMatchObject({ name: NAME, cpus: facts.hardware.cpus });
    const xml = await virsh("dumpxml", NAME);
    expect(xml).toContain(`<vcpu placement='static'>${facts.hardware.cpus}</vcpu>`);
    for (const { kind, mac } of facts.nics) if (kind === "physical") expect(xml).toContain(mac);
    const overlay = join(doppel.home, "instances", NAME, "disk0.qcow2");
    expect(xml).toContain(overlay);
    const info = JSON.parse(await must("qemu-img", "info", "-U", "--output=json", overlay));
    expect(info["backing-filename"]).toContain(join(doppel.home, "cache"));
    expect(await doppel.json("vms")).toMatchObject([{ name: NAME, state: "running", image: "small:latest" }]);
    expect((await doppel.run("vms")).stdout).toMatch(new RegExp(`${NAME} +small:latest +running`));
  });

  it("is not thawed twice to one name, nor with the same address on one network", async () => {
    expect(await thaw()).toMatchObject({ code: 3, stderr: expect.stringContaining("domain-exists") });
    const image = await doppel.json("images", "show", "small");
    const nics = (image.facts as { nics: { kind: string }[] }).nics.filter(({ kind }) => kind === "physical");
    const twin = await doppel.run("thaw", "small", "--name", OTHER, "--memory", "128M");
    if (nics.length > 0)
      expect(twin).toMatchObject({ code: 3, stderr: expect.stringContaining("mac-in-use") });
    else expect(twin.code).toBe(0);
  });

  it("keeps its image from being removed", async () => {
    const result = await doppel.run("images", "rm", "small");
    expect(result).toMatchObject({ code: 3, stderr: expect.stringContaining("image-in-use") });
  });

  it("is not discarded when the domain of its name was made by somebody else meanwhile", async () => {
    await virsh("destroy", NAME);
    const own = await virsh("dumpxml", "--inactive", NAME);
    await virsh("undefine", NAME);
    const xml = join(source.image.folder, "taken.xml");
    writeFileSync(xml, own.replace(/<uuid>.*<\/uuid>/, `<uuid>${randomUUID()}</uuid>`));
    await virsh("define", xml);
    const result = await doppel.run("discard", NAME);
    expect(result).toMatchObject({ code: 3, stderr: expect.stringContaining("domain-foreign") });
    await virsh("undefine", NAME);
  });

  it("is discarded even when its domain is gone; a second time there is nothing to discard", async () => {
    expect(await doppel.json("vms")).toMatchObject([{ name: NAME, state: "missing" }]);
    expect(await doppel.json("discard", NAME)).toEqual({ discarded: NAME });
    expect(instances()).toEqual([]);
    const again = await doppel.run("discard", NAME);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("instance-unknown") });
    await doppel.json("images", "rm", "small");
    // With the image went its base.
    expect(readdirSync(join(doppel.home, "cache"))).toEqual([]);
  });

  it("takes the name of one whose thaw was killed before it said which machine it makes", async () => {
    await doppel.json(...source.capture, "--name", "small");
    const folder = join(doppel.home, "instances", NAME);
    mkdirSync(folder);
    writeFileSync(join(folder, "seed.iso"), "half of it");
    expect((await thaw()).code).toBe(0);
    expect(readdirSync(folder)).not.toContain("seed.iso");
    await doppel.json("discard", NAME);
    expect(instances()).toEqual([]);
  });

  it("leaves nothing when it cannot be started", async () => {
    await doppel.json(...source.capture, "--name", "small");
    // The overlay's base is taken away between its making and the start: QEMU refuses.
    const cache = join(doppel.home, "cache");
    await doppel.json("thaw", "small", "--name", NAME, "--memory", "128M");
    await doppel.json("discard", NAME);
    // Named by the image: the base of the one that was removed may still be there.
    const { digest } = await doppel.json("images", "show", "small");
    const base = `${String(digest).replace("sha256:", "")}-0.qcow2`;
    renameSync(join(cache, base), join(cache, `${base}.away`));
    mkdirSync(join(cache, base));
    const result = await thaw();
    expect(result.code).toBe(1);
    expect(instances()).toEqual([]);
    expect((await virsh("list", "--all", "--name")).split("\n")).not.toContain(NAME);
  });
});

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import { Doppel, must, possible, runCommand, Source } from "../system/doppel.ts";

const USER_DATA = "#cloud-config\nhostname: shadow\n";

async function virsh(...args: string[]): Promise<string> {
  return await must("virsh", "-q", "-c", "qemu:///system", ...args);
}

/** The image of a small disk with nothing to boot: what counts is where its disks lie and what it is told. */
describe.skipIf(!possible)("a machine whose disks are in a storage pool", () => {
  const doppel = new Doppel();
  const folder = mkdtempSync(join(tmpdir(), "doppel-pool-"));
  const name = basename(folder);
  const farm = join(folder, "farm.yaml");
  let source: Source;

  beforeAll(async () => {
    await startLibvirt();
    // libvirt's QEMU is another user: it passes through.
    await must("chmod", "0711", folder);
    await must("mkdir", "-m", "0711", join(folder, "pool"));
    await virsh("pool-create-as", name, "dir", "--target", join(folder, "pool"));
    source = await Source.start(8);
    await doppel.json(...source.capture, "--name", "small");
    writeFileSync(join(folder, "user-data"), USER_DATA);
  });

  afterAll(async () => {
    for (const vm of ["one", "two", "far", "web1"].map((box) => `${name}-${box}`)) {
      await runCommand("virsh", ["-c", "qemu:///system", "destroy", vm]);
      await runCommand("virsh", ["-c", "qemu:///system", "undefine", "--nvram", vm]);
    }
    await runCommand("virsh", ["-c", "qemu:///system", "pool-destroy", name]);
    await source?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const volumes = async () =>
    (await virsh("vol-list", name)).split("\n").flatMap((line) => line.trim().split(/\s+/)[0] || []);

  it("has its image there once, an overlay and a seed of its own; discarded, only the image stays", async () => {
    const thaw = (vm: string) =>
      doppel.json(
        ...["thaw", "small", "--name", `${name}-${vm}`, "--memory", "64M", "--pool", name],
        ...["--user-data", join(folder, "user-data"), "--network", "default", "--network", "default"],
      );
    const one = await thaw("one");
    const placed = (await volumes()).find((volume) => /^doppel-[0-9a-f]{64}-0\.qcow2$/.test(volume)) ?? "";
    const path = join(folder, "pool", placed);
    const before = (await must("stat", "-c", "%i %Y", path)).trim();
    // Networks have the same cards' addresses only once: the second machine is told apart by its name alone.
    const xml = await virsh("dumpxml", `${name}-one`);
    expect(xml.match(/<interface /g)?.length).toBeGreaterThanOrEqual(2);
    expect(xml).toContain(join(folder, "pool", `${name}-one-0.qcow2`));
    const info = JSON.parse(
      await must("qemu-img", "info", "-U", "--output=json", join(folder, "pool", `${name}-one-0.qcow2`)),
    );
    expect(info).toMatchObject({ "full-backing-filename": path, "virtual-size": 8 * 1024 * 1024 });
    await must("qemu-img", "compare", "-U", path, source.image.path);

    // The seed is what cloud-init's NoCloud looks for.
    const seed = join(folder, "pool", `${name}-one-seed.iso`);
    expect(await must("blkid", "-o", "value", "-s", "LABEL", seed)).toBe("cidata\n");
    const read = async (file: string) => {
      await must("xorriso", "-osirrox", "on", "-indev", seed, "-extract", file, join(folder, `seed${file}`));
      return readFileSync(join(folder, `seed${file}`), "utf8");
    };
    expect(await read("/user-data")).toBe(USER_DATA);
    expect(JSON.parse(await read("/meta-data"))).toMatchObject({ "local-hostname": `${name}-one` });
    const vendor = JSON.parse((await read("/vendor-data")).replace("#cloud-config\n", ""));
    writeFileSync(join(folder, "host_key"), vendor.ssh_keys.ed25519_private, { mode: 0o600 });
    const derived = (await must("ssh-keygen", "-y", "-f", join(folder, "host_key")))
      .split(" ")
      .slice(0, 2)
      .join(" ");
    expect(one.hostKey).toBe(derived.trim());

    await doppel.json("discard", `${name}-one`);
    expect((await volumes()).filter((volume) => volume.startsWith(name))).toEqual([]);
    await thaw("two");
    expect((await must("stat", "-c", "%i %Y", path)).trim()).toBe(before);
    await doppel.json("discard", `${name}-two`);
  });

  it("is placed, started, listed and discarded on a host whose libvirt is reached over SSH", async () => {
    await using sshd = await Sshd.start();
    const client = join(folder, "ssh-with-the-keys");
    const options = `-i ${sshd.userKey} -o UserKnownHostsFile=${sshd.knownHosts} -o StrictHostKeyChecking=yes`;
    writeFileSync(client, `#!/bin/sh\nexec ssh -F /dev/null ${options} "$@"\n`, { mode: 0o700 });
    const uri = `qemu+ssh://${sshd.target}/system?command=${client}`;
    const far = `${name}-far`;
    const where = ["--connect", uri, "--pool", name, "--user-data", join(folder, "user-data")];
    await doppel.json("thaw", "small", "--name", far, "--memory", "64M", "--network", "default", ...where);
    expect((await volumes()).filter((volume) => volume.startsWith(far)).sort()).toEqual([
      `${far}-0.qcow2`,
      `${far}-seed.iso`,
    ]);
    expect((await virsh("domstate", far)).trim()).toBe("running");
    const vms = (await doppel.json("vms")) as unknown as unknown[];
    expect(vms).toContainEqual(expect.objectContaining({ name: far, state: "running" }));
    await doppel.json("discard", far);
    expect((await volumes()).filter((volume) => volume.startsWith(far))).toEqual([]);
    expect((await virsh("list", "--all", "--name")).split("\n")).not.toContain(far);
  });

  it("is refused for a pool that is not there, and needs one on another host", async () => {
    const thaw = (...words: string[]) =>
      doppel.run("thaw", "small", "--name", `${name}-one`, "--memory", "64M", ...words);
    expect(await thaw("--pool", "no-such-pool")).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("pool-inactive"),
    });
    const far = await thaw("--connect", "qemu+ssh://root@host.invalid/system");
    expect(far).toMatchObject({ code: 3, stderr: expect.stringContaining("pool-needed") });
    expect(await thaw("--network-config", farm)).toMatchObject({ code: 2 });
  });

  it("is a farm's shadow: refused without room, started once, shown by the plan, discarded by the undo", async () => {
    const describeFarm = (memory: string) =>
      writeFileSync(
        farm,
        stringify({
          version: 1,
          name,
          sites: { live: { url: "http://shop.test" }, shadow: { url: "http://next.shop.test" } },
          routers: [{ kind: "command", name: "edge", command: ["/bin/true"] }],
          image: { ref: "small" },
          resources: { memory, disk: "16M" },
          boxes: [
            {
              kind: "libvirt",
              name: "web1",
              connect: "qemu:///system",
              pool: name,
              shadow: { address: "192.0.2.1" },
            },
          ],
          provision: { userData: "user-data", reachable: "1s" },
        }),
      );
    describeFarm("900G");
    const refused = await doppel.run("farm", "provision", farm);
    expect(refused).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/900 GiB of memory are wanted.*gate-closed/),
    });
    expect((await virsh("list", "--all", "--name")).split("\n")).not.toContain(`${name}-web1`);

    describeFarm("64M");
    // The guest has nothing to boot: SSH never answers, and the shadow stays as it is.
    const failed = await doppel.run("farm", "provision", farm);
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining("shadow-unreachable") });
    expect((await virsh("domstate", `${name}-web1`)).trim()).toBe("running");
    const { flows } = (await doppel.json("farm", "plan", farm)) as unknown as {
      flows: {
        stages: { lanes: { id: string; state: string }[][] }[];
        gates: { passed: boolean; message: string }[];
      }[];
    };
    expect(flows[0]?.stages.flatMap(({ lanes }) => lanes.flat()).map(({ id, state }) => [id, state])).toEqual(
      [
        ["image", "as it is"],
        [`host/qemu:///system/${name}/image`, "as it is"],
        ["box/web1/shadow", "as it is"],
        ["box/web1/reachable", "to do"],
        ["box/web1/ready", "later"],
      ],
    );
    expect(await doppel.run("farm", "provision", farm, "--undo")).toMatchObject({ code: 0 });
    expect((await virsh("list", "--all", "--name")).split("\n")).not.toContain(`${name}-web1`);
  });
});

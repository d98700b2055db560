import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitForLedger } from "../../fixtures/demo/machine.ts";
import { Lab } from "../../fixtures/lab.ts";
import { Doppel, must, packageRoot, possible, runCommand } from "../system/doppel.ts";

const MAC = "52:54:00:de:ad:02";
const VM = "doppel-convert-test";

/** A Debian server that can start from AHCI disks only, and names its disks and its card by their place. */
describe.skipIf(!possible)("a machine without drivers for virtual hardware", () => {
  const doppel = new Doppel();
  let lab: Lab;

  beforeAll(async () => {
    await must(join(packageRoot, "fixtures/demo/start-libvirt"));
    lab = await Lab.start({ ahciOnly: true, mac: MAC });
    await doppel.json("capture", ...lab.login, "--name", "physical", "--freeze");
    await lab[Symbol.asyncDispose]();
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    for (const verb of ["destroy", "undefine"]) await runCommand("virsh", ["-c", "qemu:///system", verb, VM]);
    doppel[Symbol.dispose]();
  });

  const consoleLog = () => readFileSync(join(doppel.home, "instances", VM, "console.log"), "utf8");

  it("does not find its disk on virtio as it is", async () => {
    await doppel.json("thaw", "physical", "--name", VM, "--memory", "1G");
    const stuck = /Gave up waiting for root file system device/;
    await expect.poll(consoleLog, { timeout: 300_000, interval: 1000 }).toMatch(stuck);
    await doppel.json("discard", VM);
  });

  it("has a plan that says what would be changed and why; a dry run keeps nothing", async () => {
    const plan = await doppel.json("convert", "physical", "--to", "kvm", "--name", "never", "--dry-run");
    expect(plan).toMatchObject({
      dryRun: true,
      system: { type: "linux", distro: "debian", hostname: "demo" },
    });
    const steps = plan.steps as { name: string; what: string; why: string }[];
    const of = (name: string) => steps.filter((step) => step.name === name).map(({ what }) => what);
    expect(of("device-names")).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^\/etc\/fstab: \/dev\/sda4 → UUID=5f1d/),
        expect.stringMatching(/^\/boot\/grub\/grub\.cfg: \/dev\/sda2 → UUID=5f1d/),
      ]),
    );
    expect(of("initramfs")).toEqual([
      expect.stringMatching(/^\/boot\/initrd\.img-.*virtio_blk.*initramfs-tools/),
    ]);
    expect(of("network-names")).toEqual([expect.stringContaining(`${MAC} stays ens4`)]);
    expect((await doppel.run("images", "show", "never")).stderr).toContain("image-unknown");
  });

  it("boots once it is converted: its service answers, its card has its name, its data are all there", async () => {
    const converted = await doppel.json("convert", "physical", "--to", "kvm", "--name", "virtual");
    expect(converted.changedBytes).toBeLessThan(100 * 1024 * 1024);
    await doppel.json("thaw", "virtual", "--name", VM, "--memory", "1G");
    let address: string | undefined;
    const lease = async () => {
      const [vm] = (await doppel.json("vms")) as unknown as { addresses: string[] }[];
      address = vm?.addresses[0];
      return address;
    };
    await expect.poll(lease, { timeout: 300_000, interval: 1000 }).toBeTruthy();
    const ledger = await waitForLedger(`http://${address}:8080/`, 300_000);
    expect(ledger.sound).toBe(true);
    const log = consoleLog();
    expect(log).not.toMatch(/Gave up waiting/);
  });

  it("lists what was changed, keeps the originals beside it, and leaves its parent as it was", async () => {
    const shown = await doppel.json("images", "show", "virtual");
    const parent = await doppel.json("images", "show", "physical");
    expect(shown.lineage).toEqual({ kind: "convert", parent: parent.digest });
    const { conversion } = shown as {
      conversion: { target: string; steps: { files: { path: string; original: string | null }[] }[] };
    };
    expect(conversion.target).toBe("kvm");
    const files = conversion.steps.flatMap((step) => step.files);
    expect(files).toContainEqual({ path: "/etc/fstab", original: "/etc/fstab.doppel-original" });
    expect(files).toContainEqual({ path: "/etc/systemd/network/70-doppel-ens4.link", original: null });
    for (const ref of ["virtual", "physical"])
      expect((await doppel.run("images", "verify", ref)).code).toBe(0);
    const [disk] = shown.disks as { changed: { lengthBytes: number }[] }[];
    expect(disk?.changed.length).toBeGreaterThan(0);
  });
});

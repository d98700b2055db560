import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitForLedger } from "../../fixtures/demo/machine.ts";
import { Lab } from "../../fixtures/lab.ts";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { Doppel, must, possible } from "../system/doppel.ts";
import { bootReport } from "./boot-report.ts";
import { ThawedVm } from "./thawed-vm.ts";

const MAC = "52:54:00:de:ad:02";
const VM = "doppel-convert-test";

/** A Debian server that can start from AHCI disks only, and names its disks and its card by their place. */
describe.skipIf(!possible)("a machine without drivers for virtual hardware", () => {
  const doppel = new Doppel();
  let lab: Lab;

  beforeAll(async () => {
    await startLibvirt();
    lab = await Lab.start({ ahciOnly: true, mac: MAC, cpus: 1 });
    await doppel.json("capture", ...lab.login, "--name", "physical", "--freeze");
    await lab.machine.stop();
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  it("does not find its disk on virtio as it is, and the boot test says so (exit 1)", async () => {
    const { code, stdout } = await doppel.run("boot-test", "physical", "--memory", "1G", "--json");
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      boots: false,
      why: "the initramfs does not find the disk of the root file system",
      bus: "virtio-blk",
      firmware: "bios",
    });
    expect((await doppel.run("images", "ls")).stdout).toMatch(/physical .* no, virtio-blk, BIOS, \d{4}-/);
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
        expect.stringMatching(/^\/etc\/fstab: \/dev\/disk\/by-id\/ata-\S+-part4 → UUID=5f1d/),
        expect.stringMatching(/^\/boot\/grub\/grub\.cfg: \/dev\/sda2 → UUID=5f1d/),
      ]),
    );
    expect(of("initramfs")).toEqual([
      expect.stringMatching(/^\/boot\/initrd\.img-.*virtio_blk.*initramfs-tools/),
    ]);
    expect(of("network-names")).toEqual([expect.stringContaining(`${MAC} stays ens4`)]);
    expect((await doppel.run("images", "show", "never")).stderr).toContain("image-unknown");
  });

  it("boots once it is converted; the evidence stays with the image", async () => {
    const converted = await doppel.json("convert", "physical", "--to", "kvm", "--name", "virtual");
    expect(converted.changedBytes).toBeLessThan(100 * 1024 * 1024);
    // On the other bus: npm run test:boot:all.
    const report = await bootReport(doppel, "virtual", "virtio-blk");
    expect(report).toMatchObject({ boots: true, bus: "virtio-blk", firmware: "bios" });
    const stages = (report.stages as { stage: string }[]).map(({ stage }) => stage);
    expect(stages).toEqual(["firmware", "boot-loader", "kernel", "userspace", "network"]);
    expect(report.openPorts).toEqual(expect.arrayContaining([22, 8080]));
    const folder = join(doppel.home, "evidence");
    expect((await doppel.run("images", "show", "virtual", "--evidence", folder)).stdout).toContain(
      "boots     yes, virtio-blk, BIOS",
    );
    expect(readFileSync(join(folder, "console.log"), "utf8")).toContain("Linux version");
    expect(await must("file", join(folder, "screen.png"))).toMatch(
      /PNG image data, \d{3,4} x \d{3,4}, 8-bit\/color RGB/,
    );
    const [vm] = (await doppel.json("vms")) as unknown as unknown[];
    expect(vm).toBeUndefined();
    // A boot test's network has the number of its process in its name; others may be under way.
    const networks = await must("virsh", "-c", "qemu:///system", "net-list", "--name");
    const makers = [...networks.matchAll(/^boot-test-(\d+)-/gm)].map(([, pid]) => `/proc/${pid}`);
    expect(makers.filter((maker) => !existsSync(maker))).toEqual([]);
  });

  it("keeps its data, its card's name, and the drivers when it makes its initramfs again", async () => {
    await using vm = await ThawedVm.start(doppel, "virtual", VM, lab);
    const ledger = await waitForLedger(`http://${vm.address}:8080/`, 300_000);
    expect(ledger.sound).toBe(true);
    expect(await vm.run("ip -o link show ens4")).toContain(MAC);
    await vm.run("update-initramfs -u -k all && sync");
    const drivers = await vm.run("for i in /boot/initrd.img-*[0-9a-z]; do lsinitramfs $i; done");
    expect(drivers).toMatch(/virtio_blk\.ko[\s\S]*virtio_scsi\.ko|virtio_scsi\.ko[\s\S]*virtio_blk\.ko/);
    await vm.restart();
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

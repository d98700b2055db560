import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { openDisk } from "../../fixtures/guest-disk.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import {
  DEFAULT_ENTRY,
  type PhonyWindows,
  virtioWinTree,
  windowsDisk,
} from "../../fixtures/windows-guest.ts";
import type { GuestSystem } from "../../src/guest/guest-system.ts";
import type { Wishes } from "../../src/guest/step.ts";
import { findTarget } from "../../src/guest/target.ts";
import { planWindows } from "../../src/guest/windows/plan.ts";
import type { RegEdit } from "../../src/guest/windows/reg-file.ts";
import type { MachineFacts } from "../../src/machine/facts.ts";
import { Doppel, loginTo, must, possible } from "./doppel.ts";

const CARD = "{aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee}";
const CLASS = "{4D36E972-E325-11CE-BFC1-08002BE10318}";

/** A card with an address that was set by hand, which its serial number tells from others. */
const staticCard = (set: string): RegEdit[] => [
  {
    key: `${set}\\Services\\Tcpip\\Parameters\\Interfaces\\${CARD}`,
    set: {
      EnableDHCP: { type: "dword", number: 0 },
      IPAddress: { type: "multi-sz", texts: ["10.0.0.5", "10.0.0.6"] },
      SubnetMask: { type: "multi-sz", texts: ["255.255.255.0", "255.255.255.0"] },
      DefaultGateway: { type: "multi-sz", texts: ["10.0.0.1"] },
      NameServer: { type: "sz", text: "10.0.0.53,10.0.0.54" },
    },
  },
  {
    key: `${set}\\Control\\Class\\${CLASS}\\0007`,
    set: {
      NetCfgInstanceId: { type: "sz", text: CARD.toUpperCase() },
      DeviceInstanceID: { type: "sz", text: "PCI\\VEN_8086&DEV_1533\\0CC47AFFFF1A2B3C00" },
    },
  },
];

/** Windows itself cannot run here: these are its disks, made of real file systems and hives, and read by other programs. */
describe.skipIf(!possible)("a Windows guest", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-windows-"));
  const virtioWin = join(folder, "virtio-win");
  const doppel = new Doppel();
  let sshd: Sshd;

  beforeAll(async () => {
    sshd = await Sshd.start();
    virtioWinTree(virtioWin, ["w7", "2k8R2", "w10", "2k22"]);
  });
  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function capture(name: string, guests: PhonyWindows[], table: "gpt" | "mbr"): Promise<void> {
    const partitions = guests.length + (guests.some(({ uefi }) => uefi) ? 1 : 0);
    using disk = new DiskImage((partitions * 64 + 2) * 1024 * 1024);
    await windowsDisk(disk.path, guests, table);
    const loop = disk.attach({ readOnly: true });
    await doppel.json("capture", ...loginTo(sshd), "--disk", loop, "--name", name);
  }

  /** Takes files, `DEVICE:PATH`, out of the converted guest's disk, and returns the paths of the last device. */
  async function look(name: string, files: string[]): Promise<string> {
    const disk = join(folder, `${name}.raw`);
    await doppel.json("export", name, "-o", disk, "--format", "raw");
    const commands = ["run"];
    for (const [index, file] of files.entries()) {
      const [device = "", path = ""] = file.split(":");
      commands.push(":", "mount-ro", device, "/", ":", "download", path, join(folder, `${name}.${index}`));
      commands.push(...(index + 1 < files.length ? [":", "umount", "/"] : [":", "find", "/"]));
    }
    const backend = ["LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg"];
    return await must("env", ...backend, "guestfish", "--ro", "--format=raw", "-a", disk, ...commands);
  }

  /** `PATH,TYPE,VALUE` of a hive, as reglookup has them. */
  async function registry(hive: string): Promise<string[]> {
    const lines = (await must("reglookup", "-H", hive)).trim().split("\n");
    return lines.map((line) => line.split(",").slice(0, 3).join(","));
  }

  it("of 2008 R2 on a BIOS machine gets drivers, addresses and a first boot, in both control sets", async () => {
    const guest: PhonyWindows = {
      productName: "Windows Server 2008 R2 Standard",
      version: [6, 1],
      build: 7601,
      server: true,
      controlSets: [1, 2],
      system: staticCard("ControlSet001"),
    };
    await capture("old", [guest], "mbr");
    const script = join(folder, "mine.bat");
    writeFileSync(script, "echo mine\r\n");
    const result = await doppel.json(
      ...["convert", "old", "--to", "kvm", "--name", "old-kvm", "--virtio-win", virtioWin],
      ...["--guest-agent", "--firstboot", script],
    );
    expect(result.steps).toContainEqual(expect.objectContaining({ name: "disk-drivers" }));
    const found = await look("old-kvm", [
      "/dev/sda1:/Windows/System32/config/SYSTEM",
      "/dev/sda1:/Windows/System32/config/SOFTWARE",
      "/dev/sda1:/Windows/System32/drivers/viostor.sys",
      "/dev/sda1:/Windows/doppel-firstboot/scripts/0002-drivers.cmd",
      "/dev/sda1:/Windows/doppel-firstboot/scripts/0004-network.ps1",
    ]);
    const system = await registry(join(folder, "old-kvm.0"));
    for (const set of ["ControlSet001", "ControlSet002"]) {
      expect(system).toEqual(
        expect.arrayContaining([
          `/${set}/Services/viostor/Start,DWORD,0x00000000`,
          `/${set}/Services/vioscsi/ImagePath,EXPAND_SZ,system32\\drivers\\vioscsi.sys`,
          `/${set}/Control/CriticalDeviceDatabase/PCI#VEN_1AF4&DEV_1001&REV_00/Service,SZ,viostor`,
          `/${set}/Control/CrashControl/AutoReboot,DWORD,0x00000000`,
          `/${set}/Services/partmgr/Parameters/SanPolicy,DWORD,0x00000001`,
          `/${set}/Services/doppel-firstboot/Start,DWORD,0x00000002`,
          `/${set}/Services/doppel-firstboot/ImagePath,EXPAND_SZ,%25SystemRoot%25\\doppel-firstboot\\doppel-firstboot.exe`,
        ]),
      );
    }
    expect(system).toContain("/MountedDevices/\\DosDevices\\D:,BINARY,%01%02%03%04%00%00%10%00");
    expect(system.join("\n")).not.toContain("DriverDatabase");
    expect(await registry(join(folder, "old-kvm.1"))).toContain(
      "/Microsoft/Windows/CurrentVersion/DevicePath,EXPAND_SZ,%25SystemRoot%25\\inf;%25SystemRoot%25\\Drivers\\VirtIO",
    );
    // The server's own drivers, of the right architecture, with the original hive beside the new one.
    expect(await must("cat", join(folder, "old-kvm.2"))).toBe("viostor 2k8R2 amd64 sys");
    expect(found).toContain("Windows/Drivers/VirtIO/netkvm.inf");
    expect(found).not.toContain(".pdb");
    expect(found).toContain("Windows/System32/config/SYSTEM.doppel-original");
    expect(found).toContain("Windows/doppel-firstboot/scripts/0006-mine.cmd");
    expect(found).toContain("Windows/Drivers/VirtIO/qemu-ga.msi");
    const drivers = await must("cat", join(folder, "old-kvm.3"));
    const temporary = drivers.indexOf("CriticalDeviceDatabase\\PCI#VEN_1AF4&DEV_1001&REV_00");
    expect(drivers.indexOf("netkvm.inf")).toBeGreaterThan(0);
    expect(temporary).toBeGreaterThan(drivers.indexOf("netkvm.inf"));
    expect(drivers.indexOf("viostor.inf")).toBeGreaterThan(temporary);
    const network = await must("cat", join(folder, "old-kvm.4"));
    expect(network).toContain("Mac = '0C:C4:7A:1A:2B:3C'");
    expect(network).toContain("Addresses = @('10.0.0.5', '10.0.0.6')");
    expect(network).toContain("Dns = @('10.0.0.53', '10.0.0.54')");
    const { stdout } = await doppel.run("images", "show", "old-kvm");
    expect(stdout).toContain("SYSTEM\\ControlSet002\\Services\\viostor: Type, Start");
    expect(stdout).toContain("Windows/System32/drivers/viostor.sys, new");
  });

  it("of 2022 on a UEFI machine uses the driver database, and firmware finds its loader", async () => {
    const guest: PhonyWindows = {
      productName: "Windows Server 2022 Datacenter",
      version: [10, 0],
      build: 20348,
      server: true,
      uefi: true,
      driverDatabase: true,
      system: [
        {
          key: "ControlSet001\\Services\\vioscsi\\StartOverride",
          set: { "0": { type: "dword", number: 3 } },
        },
      ],
    };
    await capture("new", [guest], "gpt");
    const iso = join(folder, "virtio-win.iso");
    await must("xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-o", iso, virtioWin);
    await doppel.json("convert", "new", "--to", "kvm", "--name", "new-kvm", "--virtio-win", iso);
    await look("new-kvm", [
      "/dev/sda2:/Windows/System32/config/SYSTEM",
      "/dev/sda2:/Windows/Drivers/VirtIO/viostor.sys",
      "/dev/sda1:/EFI/Boot/bootx64.efi",
      "/dev/sda1:/EFI/Microsoft/Boot/BCD",
    ]);
    const system = await registry(join(folder, "new-kvm.0"));
    expect(system).toContain(
      "/DriverDatabase/DriverInfFiles/viostor.inf/Active,SZ,viostor.inf_amd64_0000000000000000",
    );
    expect(system.join("\n")).not.toMatch(/StartOverride|CriticalDeviceDatabase/);
    expect(await must("cat", join(folder, "new-kvm.1"))).toBe("viostor 2k22 amd64 sys");
    expect(await must("cat", join(folder, "new-kvm.2"))).toBe("the boot manager");
    const store = (await registry(join(folder, "new-kvm.3"))).join("\n");
    expect(store).toContain(`/Objects/${DEFAULT_ENTRY}/Elements/12000004/Element,SZ,Windows`);
    expect(store).not.toContain("16000046");
    const junk = join(folder, "junk.iso");
    writeFileSync(junk, "no file system".padEnd(1024 * 1024));
    const words = ["convert", "new", "--to", "kvm", "--name", "never", "--virtio-win", junk];
    const { code, stderr } = await doppel.run(...words);
    expect(stderr).toMatch(/junk\.iso has no file system.*virtio-win-unusable/);
    expect(code).toBe(2);
    expect((await doppel.run("images", "ls")).stdout).not.toContain("never");
  });

  it("for Hyper-V and VMware has its own drivers started, and needs no ISO", async () => {
    const guest: PhonyWindows = {
      productName: "Windows 10 Pro",
      version: [10, 0],
      build: 19045,
      driverDatabase: true,
      drivers: ["vmbus", "storvsc", "lsi_sas"],
      system: ["vmbus", "storvsc", "LSI_SAS", "intelide"].flatMap((name) => [
        { key: `ControlSet001\\Services\\${name}`, set: { Start: { type: "dword" as const, number: 3 } } },
        {
          key: `ControlSet001\\Services\\${name}\\StartOverride`,
          set: { "0": { type: "dword" as const, number: 3 } },
        },
      ]),
    };
    await capture("desk", [guest], "gpt");
    await doppel.json("convert", "desk", "--to", "hyperv", "--name", "desk-hyperv");
    await look("desk-hyperv", ["/dev/sda1:/Windows/System32/config/SYSTEM"]);
    const system = (await registry(join(folder, "desk-hyperv.0"))).join("\n");
    expect(system).toContain("/ControlSet001/Services/vmbus/Start,DWORD,0x00000000");
    expect(system).toContain("/ControlSet001/Services/storvsc/Start,DWORD,0x00000000");
    expect(system).not.toMatch(/Services\/(?:vmbus|storvsc)\/StartOverride/);
    // Another hypervisor's, and one whose program is not there.
    for (const name of ["LSI_SAS", "intelide"])
      expect(system).toContain(`/ControlSet001/Services/${name}/Start,DWORD,0x00000003`);
    const { steps } = await doppel.json("convert", "desk", "--to", "vmware", "--name", "x", "--dry-run");
    expect(JSON.stringify(steps)).toContain("LSI_SAS start with Windows");
  });

  it("is refused hibernated, dirty, too old, on a dynamic disk, and for what Windows does otherwise (exit 3)", async () => {
    const windows10 = { productName: "Windows 10 Pro", version: [10, 0] as [number, number], build: 19045 };
    const guests: PhonyWindows[] = [
      windows10,
      { ...windows10, hibernated: true },
      { ...windows10, dirty: true },
      { ...windows10, dirtyHive: true },
      { ...windows10, productName: "Windows XP", version: [5, 1], build: 2600 },
      {
        ...windows10,
        system: [1, 2].map((card) => ({
          key: `ControlSet001\\Services\\Tcpip\\Parameters\\Interfaces\\${CARD.replace("a", String(card))}`,
          set: {
            EnableDHCP: { type: "dword" as const, number: 0 },
            IPAddress: { type: "multi-sz" as const, texts: [`10.0.${card}.5`] },
            SubnetMask: { type: "multi-sz" as const, texts: ["255.255.255.0"] },
          },
        })),
      },
    ];
    using disk = new DiskImage((guests.length * 64 + 2) * 1024 * 1024);
    await windowsDisk(disk.path, guests, "gpt");
    await using opened = await openDisk(disk.path);
    const { guestfish } = opened;
    await guestfish.run("inspect-os");
    const plan = async (partition: number, wishes: Partial<Wishes> = { virtioWin: DRIVERS }) => {
      await guestfish.run("umount-all");
      const system = { root: `/dev/sda${partition}`, productName: `guest ${partition}`, arch: "x86_64" };
      return await planWindows({
        guestfish,
        system: system as GuestSystem,
        target: findTarget("kvm"),
        facts: { nics: [] } as unknown as MachineFacts,
        wishes: { firstboot: [], network: [], ...wishes } as unknown as Wishes,
        workFolder: folder,
      });
    };
    const DRIVERS = { path: virtioWin, kind: "folder" } as const;
    expect((await plan(1)).steps.map(({ name }) => name)).toContain("disk-drivers");
    const refused: [number, RegExp, Partial<Wishes>?][] = [
      [1, /no driver for the disks of kvm/, {}],
      [1, /--sysprep/, { sysprep: true }],
      [
        1,
        /x\.sh is no script for Windows/,
        { virtioWin: DRIVERS, firstboot: [{ name: "x.sh", content: Buffer.from("") }] },
      ],
      [2, /hibernated/],
      [3, /marked as dirty/],
      [4, /SYSTEM has changes that are only in its log/],
      [5, /guest 5.*cannot be converted/],
      [6, /which card of the guest has 10\.0\.1\.5, 10\.0\.2\.5 is not known/],
    ];
    for (const [partition, message, wishes] of refused) {
      const error = await plan(partition, wishes).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ exitCode: 3, message: expect.stringMatching(message) });
    }
    await guestfish.run("part-set-gpt-type", "/dev/sda", "6", "AF9B60A0-1431-4F62-BC68-3311714A69AD");
    await expect(plan(1)).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringContaining("dynamic disk"),
    });
  });
});

import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { openDisk } from "../../fixtures/guest-disk.ts";
import { Sshd } from "../../fixtures/sshd.ts";
import {
  DEFAULT_ENTRY,
  fillWindowsDisk,
  type PhonyWindows,
  virtioWinTree,
  windowsDiskMib,
} from "../../fixtures/windows-guest.ts";
import type { GuestSystem } from "../../src/guest/guest-system.ts";
import type { Wishes } from "../../src/guest/step.ts";
import { findTarget } from "../../src/guest/target.ts";
import { planWindows } from "../../src/guest/windows/plan.ts";
import type { RegEdit } from "../../src/guest/windows/reg-file.ts";
import type { MachineFacts } from "../../src/machine/facts.ts";
import { Doppel, loginTo, must, possible } from "./doppel.ts";

const MIB = 1024 * 1024;
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

const SERVER_2008: PhonyWindows = {
  productName: "Windows Server 2008 R2 Standard",
  version: [6, 1],
  build: 7601,
  server: true,
  controlSets: [1, 2],
  system: staticCard("ControlSet001"),
};

const SERVER_2022: PhonyWindows = {
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

const DESKTOP: PhonyWindows = {
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

const WINDOWS_10 = { productName: "Windows 10 Pro", version: [10, 0] as [number, number], build: 19045 };
const REFUSED: PhonyWindows[] = [
  WINDOWS_10,
  { ...WINDOWS_10, hibernated: true },
  { ...WINDOWS_10, dirty: true },
  { ...WINDOWS_10, dirtyHive: true },
  { ...WINDOWS_10, productName: "Windows XP", version: [5, 1], build: 2600 },
  {
    ...WINDOWS_10,
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

const DISKS = {
  old: { guests: [SERVER_2008], table: "mbr" },
  new: { guests: [SERVER_2022], table: "gpt" },
  desk: { guests: [DESKTOP], table: "gpt" },
  refused: { guests: REFUSED, table: "gpt" },
} as const;

/** Windows itself cannot run here: these are its disks, made of real file systems and hives, and read by other programs. */
describe.skipIf(!possible)("a Windows guest", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-windows-"));
  const virtioWin = join(folder, "virtio-win");
  const doppel = new Doppel();
  const disks = {} as Record<keyof typeof DISKS, DiskImage>;
  let sshd: Sshd;

  beforeAll(async () => {
    for (const name of Object.keys(DISKS) as (keyof typeof DISKS)[]) {
      disks[name] = new DiskImage(windowsDiskMib(DISKS[name]) * MIB);
      await fillWindowsDisk(disks[name], DISKS[name]);
    }
    sshd = await Sshd.start();
    virtioWinTree(virtioWin, ["w7", "2k8R2", "w10", "2k22"]);
  });
  afterAll(async () => {
    await sshd?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
    for (const disk of Object.values(disks)) disk[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function capture(name: keyof typeof DISKS): Promise<void> {
    const loop = disks[name].attach({ readOnly: true });
    await doppel.json("capture", ...loginTo(sshd), "--disk", loop, "--name", name);
  }

  /** Takes the files out of a partition of the converted guest's disk, and returns the folder that has them. */
  async function look(name: string, partition: number): Promise<string> {
    const disk = join(folder, `${name}.raw`);
    if (!existsSync(disk)) await doppel.json("export", name, "-o", disk, "--format", "raw");
    const files = join(folder, `${name}.${partition}`);
    const place = ["--offset", String((1 + 64 * (partition - 1)) * MIB), "--sizelimit", String(64 * MIB)];
    const loop = (await must("losetup", "--find", "--show", "--read-only", ...place, disk)).trim();
    const mounted = `${files}.mounted`;
    mkdirSync(mounted);
    try {
      if ((await must("blkid", "-p", "-o", "value", "-s", "TYPE", loop)).trim() === "vfat") {
        await must("mcopy", "-s", "-i", loop, "::/", files);
      } else {
        await must("mount", "-t", "ntfs-3g", "-o", "ro", loop, mounted);
        cpSync(mounted, files, { recursive: true });
        await must("umount", mounted);
      }
    } finally {
      await must("losetup", "--detach", loop);
    }
    return files;
  }

  /** `PATH,TYPE,VALUE` of a hive, as reglookup has them. */
  async function registry(hive: string): Promise<string[]> {
    const lines = (await must("reglookup", "-H", hive)).trim().split("\n");
    return lines.map((line) => line.split(",").slice(0, 3).join(","));
  }

  const text = (files: string, path: string) => readFileSync(join(files, path), "utf8");

  it("of 2008 R2 on a BIOS machine gets drivers, addresses and a first boot, in both control sets", async () => {
    await capture("old");
    const script = join(folder, "mine.bat");
    writeFileSync(script, "echo mine\r\n");
    const result = await doppel.json(
      ...["convert", "old", "--to", "kvm", "--name", "old-kvm", "--virtio-win", virtioWin],
      ...["--guest-agent", "--firstboot", script],
    );
    expect(result.steps).toContainEqual(expect.objectContaining({ name: "disk-drivers" }));
    const files = await look("old-kvm", 1);
    const found = readdirSync(files, { recursive: true });
    const system = await registry(join(files, "Windows/System32/config/SYSTEM"));
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
    expect(await registry(join(files, "Windows/System32/config/SOFTWARE"))).toContain(
      "/Microsoft/Windows/CurrentVersion/DevicePath,EXPAND_SZ,%25SystemRoot%25\\inf;%25SystemRoot%25\\Drivers\\VirtIO",
    );
    // The server's own drivers, of the right architecture, with the original hive beside the new one.
    expect(text(files, "Windows/System32/drivers/viostor.sys")).toBe("viostor 2k8R2 amd64 sys");
    expect(found).toContain("Windows/Drivers/VirtIO/netkvm.inf");
    expect(found.join("\n")).not.toContain(".pdb");
    expect(found).toContain("Windows/System32/config/SYSTEM.doppel-original");
    expect(found).toContain("Windows/doppel-firstboot/scripts/0006-mine.cmd");
    expect(found).toContain("Windows/Drivers/VirtIO/qemu-ga.msi");
    const drivers = text(files, "Windows/doppel-firstboot/scripts/0002-drivers.cmd");
    const temporary = drivers.indexOf("CriticalDeviceDatabase\\PCI#VEN_1AF4&DEV_1001&REV_00");
    expect(drivers.indexOf("netkvm.inf")).toBeGreaterThan(0);
    expect(temporary).toBeGreaterThan(drivers.indexOf("netkvm.inf"));
    expect(drivers.indexOf("viostor.inf")).toBeGreaterThan(temporary);
    const network = text(files, "Windows/doppel-firstboot/scripts/0004-network.ps1");
    expect(network).toContain("Mac = '0C:C4:7A:1A:2B:3C'");
    expect(network).toContain("Addresses = @('10.0.0.5', '10.0.0.6')");
    expect(network).toContain("Dns = @('10.0.0.53', '10.0.0.54')");
    const { stdout } = await doppel.run("images", "show", "old-kvm");
    expect(stdout).toContain("SYSTEM\\ControlSet002\\Services\\viostor: Type, Start");
    expect(stdout).toContain("Windows/System32/drivers/viostor.sys, new");
  });

  it("of 2022 on a UEFI machine uses the driver database, and firmware finds its loader", async () => {
    await capture("new");
    const iso = join(folder, "virtio-win.iso");
    await must("xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-o", iso, virtioWin);
    await doppel.json("convert", "new", "--to", "kvm", "--name", "new-kvm", "--virtio-win", iso);
    const files = await look("new-kvm", 2);
    const esp = await look("new-kvm", 1);
    const system = await registry(join(files, "Windows/System32/config/SYSTEM"));
    expect(system).toContain(
      "/DriverDatabase/DriverInfFiles/viostor.inf/Active,SZ,viostor.inf_amd64_0000000000000000",
    );
    expect(system.join("\n")).not.toMatch(/StartOverride|CriticalDeviceDatabase/);
    expect(text(files, "Windows/Drivers/VirtIO/viostor.sys")).toBe("viostor 2k22 amd64 sys");
    expect(text(esp, "EFI/Boot/bootx64.efi")).toBe("the boot manager");
    const store = (await registry(join(esp, "EFI/Microsoft/Boot/BCD"))).join("\n");
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
    await capture("desk");
    await doppel.json("convert", "desk", "--to", "hyperv", "--name", "desk-hyperv");
    const files = await look("desk-hyperv", 1);
    const system = (await registry(join(files, "Windows/System32/config/SYSTEM"))).join("\n");
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
    await using opened = await openDisk(disks.refused.path);
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

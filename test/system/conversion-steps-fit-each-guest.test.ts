import { dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestTrees } from "../../fixtures/guest-trees.ts";
import { checkFreeSpace } from "../../src/guest/free-space.ts";
import { encodeCpio, FOLDER_MODE } from "../../src/guest/linux/cpio.ts";
import { planDeviceNames } from "../../src/guest/linux/device-names.ts";
import { planFallbackLoader } from "../../src/guest/linux/fallback-loader.ts";
import { planFirstboot } from "../../src/guest/linux/firstboot.ts";
import { planInitramfs } from "../../src/guest/linux/initramfs-step.ts";
import { planNetworkNames } from "../../src/guest/linux/network-names.ts";
import { planNetworkSettings } from "../../src/guest/linux/network-settings.ts";
import { planResidue } from "../../src/guest/linux/residue.ts";
import { planSerialConsole } from "../../src/guest/linux/serial-console.ts";
import { planStaleCaches } from "../../src/guest/linux/stale-caches.ts";
import { planSysprep } from "../../src/guest/linux/sysprep.ts";
import { parseNetworkFile } from "../../src/guest/network-settings.ts";
import type { ChangedFile, GuestContext, Planner, Wishes } from "../../src/guest/step.ts";
import { findTarget } from "../../src/guest/target.ts";
import type { MachineFacts } from "../../src/machine/facts.ts";
import { possible } from "./doppel.ts";

const MAC = "0c:c4:7a:00:00:01";
const ROOT = "5f1d0f6e-0d3a-4f52-8c44-2d3d5fd0a001";
const MODULES = "/lib/modules/6.1.0-test-amd64";
const VIRTIO = ["virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net"];

const ENVIRONMENT_BLOCK =
  "# GRUB Environment Block\nsaved_entry=a\nkernelopts=root=/dev/sda2 ro quiet \n".padEnd(1024, "#");

const folder = (path: string) => ({ path, mode: FOLDER_MODE, content: Buffer.alloc(0) });

const TREES = {
  debian: {
    "/lib/systemd/systemd": "",
    "/lib/systemd/system/smartmontools.service": "[Unit]\n",
    "/lib/systemd/system/multipathd.service": "[Unit]\n",
    "/lib/systemd/system/qemu-guest-agent.service": "[Unit]\n",
    "/etc/systemd/system/ipmievd.service": "[Service]\nExecStart=/usr/sbin/ipmievd\n",
    "/etc/fstab": "# disks\n/dev/sda2  /  ext4  defaults 0 1 # root\n/dev/sdz9 /x ext4 defaults 0 0\n",
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX="root=/dev/sda2 quiet"\nGRUB_TIMEOUT=5\n',
    "/etc/default/grub.d/50-site.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="resume=/dev/sda2"\n',
    "/boot/grub/grub.cfg":
      "menuentry x {\n\tlinux\t/vmlinuz root=/dev/sda2 ro\n\tlinux16 /memtest86+x64.bin\n\tinitrd /initrd.img\n}\n",
    "/boot/grub/device.map": "(hd0) /dev/sda\n",
    "/etc/mdadm/mdadm.conf":
      "DEVICE /dev/sda1 /dev/sdb1\nARRAY /dev/md0 UUID=1:2:3:4 devices=/dev/sda1,/dev/sdb1\n",
    "/etc/lvm/lvm.conf": 'devices {\n\tfilter = [ "a|^/dev/sda.*|", "r|.*|" ]\n\tscan = 1\n}\n',
    "/etc/network/interfaces":
      "auto lo\niface lo inet loopback\n\nauto eno1\niface eno1 inet static\n    address 10.0.0.5/24\n    gateway 10.0.0.1\n\nauto eno2\niface eno2 inet dhcp\n",
    "/etc/ssh/ssh_host_rsa_key": "secret",
    "/etc/ssh/ssh_host_rsa_key.pub": "public",
    "/etc/ssh/sshd_config": "Port 22\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/hostname": "db1\n",
    "/etc/hosts": "127.0.0.1 localhost\n10.0.0.5 db1 db1.example.net db10\n",
    "/var/lib/dhcp/dhclient.eno1.leases": "lease {}\n",
    "/var/log/syslog": "yesterday\n",
    "/var/log/nginx/access.log": "GET /\n",
  },
  rhel6: {
    "/etc/init.d/smartd": "#!/bin/sh\n",
    "/etc/rc.d/rc3.d/S40smartd": "-> ../init.d/smartd",
    "/etc/rc.d/rc5.d/S40smartd": "-> ../init.d/smartd",
    "/etc/rc.d/rc3.d/S10network": "-> ../init.d/network",
    "/etc/inittab": "id:3:initdefault:\n",
    "/boot/grub/menu.lst": "-> ./grub.conf",
    "/boot/grub/grub.conf":
      "default=0\ntitle RHEL\n\tkernel /vmlinuz-2.6.32 ro root=/dev/sda2 quiet\n\tinitrd /x\n",
    "/etc/sysconfig/network": "NETWORKING=yes\nHOSTNAME=db1\n",
    "/etc/sysconfig/network-scripts/ifcfg-eno1": "DEVICE=eno1\nBOOTPROTO=static\nIPADDR=10.0.0.5\n",
    "/etc/hostname": "db1\n",
  },
  alpine: {
    "/sbin/openrc": "",
    "/etc/init.d/smartd": "#!/sbin/openrc-run\n",
    "/etc/runlevels/default/smartd": "-> /etc/init.d/smartd",
    "/etc/inittab": "::sysinit:/sbin/openrc sysinit\n",
    "/boot/extlinux.conf": "LABEL x\n  LINUX vmlinuz-lts\n  APPEND root=/dev/sda2 modules=sd-mod\n",
    "/etc/network/interfaces": "auto eno1\niface eno1 inet dhcp\n",
  },
  ubuntu: {
    "/usr/lib/systemd/systemd": "",
    "/etc/netplan/50-cloud-init.yaml": "network: {version: 2, ethernets: {eno1: {dhcp4: true}}}\n",
    "/boot/efi/EFI/ubuntu/shimx64.efi": "shim",
    "/boot/efi/EFI/ubuntu/grubx64.efi": "grub",
    "/boot/efi/EFI/ubuntu/grub.cfg": "configfile\n",
    "/boot/efi/EFI/memtest/other.efi": "memtest",
  },
  suse: {
    "/usr/lib/systemd/systemd": "",
    "/etc/sysconfig/network/ifcfg-lo": "IPADDR=127.0.0.1/8\n",
    "/boot/efi/EFI/BOOT/bootx64.efi": "there already",
    "/boot/efi/EFI/Linux/opensuse.efi": "a unified kernel image",
    [`${MODULES}/modules.dep`]: VIRTIO.map((name) => `kernel/${name}.ko:\n`).join(""),
  },
  fedora: {
    "/usr/lib/systemd/systemd": "",
    "/etc/NetworkManager/system-connections/eno1.nmconnection": "[connection]\nid=eno1\n",
    "/boot/loader/entries/a.conf": "title Fedora\nlinux /vmlinuz\noptions root=/dev/sda2 ro\n",
    [`${MODULES}/modules.dep`]: "kernel/ahci.ko:\n",
  },
  gentoo: {
    "/sbin/openrc": "",
    "/boot/initramfs-genkernel-x86_64": encodeCpio([
      folder("lib"),
      folder("lib/modules"),
      folder(MODULES.slice(1)),
    ]).toString(),
    "/boot/initramfs": "-> initramfs-genkernel-x86_64",
    "/boot/initrd-of-another": "no initramfs at all",
    [`${MODULES}/modules.dep`]: VIRTIO.map((name) => `kernel/${name}.ko:\n`).join(""),
    ...Object.fromEntries(VIRTIO.map((name) => [`${MODULES}/kernel/${name}.ko`, "a module"])),
  },
  rhel8: {
    "/boot/loader/entries/a.conf": "title RHEL\nlinux /vmlinuz\noptions $kernelopts\n",
    "/boot/grub2/grubenv": "-> ../efi/EFI/redhat/grubenv",
    "/boot/efi/EFI/redhat/grubenv": ENVIRONMENT_BLOCK,
  },
  rhel9: {
    "/usr/lib/systemd/systemd": "",
    "/usr/bin/": "",
    "/etc/fstab": "/dev/sda2 / xfs defaults 0 0\n",
    "/etc/systemd/system/ipmievd.service": "[Service]\nExecStart=/usr/sbin/ipmievd\n",
  },
};

const NO_WISHES: Wishes = {
  console: false,
  firstboot: [],
  sysprep: false,
  guestAgent: false,
  keepResidue: false,
  rebuildInitramfs: false,
  network: [],
};

const FACTS = {
  firmware: {
    type: "uefi",
    bootOrder: [
      { id: "0003", label: "PXE", active: true, loader: "PciRoot(0x0)/MAC(0CC47A000001,1)" },
      {
        id: "0001",
        label: "ubuntu",
        active: true,
        loader: "HD(1,GPT,5f1d)/File(\\EFI\\UBUNTU\\SHIMX64.EFI)",
      },
    ],
  },
  nics: [{ name: "eno1", kind: "physical", mac: MAC, addresses: [] }],
  block: [{ path: "/dev/sda2", links: [], fsUuid: ROOT, mounts: [] }],
} as unknown as MachineFacts;

const NETWORK = parseNetworkFile(
  JSON.stringify({
    interfaces: [
      { card: MAC, addresses: ["192.0.2.7/24", "2001:db8::7/64"], gateway: "192.0.2.1", dns: ["192.0.2.53"] },
    ],
  }),
  "network.json",
);

describe.skipIf(!possible)("a conversion fits its steps to the guest", () => {
  let trees: GuestTrees;

  beforeAll(async () => {
    trees = await GuestTrees.build(TREES);
  });
  afterAll(async () => await trees?.[Symbol.asyncDispose]());

  async function carryOut(
    name: keyof typeof TREES,
    planner: Planner,
    wishes: Partial<Wishes> = {},
  ): Promise<{ what: string[]; files: ChangedFile[] }> {
    const steps = await planner(await context(name, wishes));
    const files: ChangedFile[] = [];
    for (const step of steps) files.push(...(await step.apply()));
    return { what: steps.map(({ what }) => what), files };
  }

  async function context(name: keyof typeof TREES, wishes: Partial<Wishes> = {}): Promise<GuestContext> {
    return {
      guestfish: await trees.open(name),
      system: { arch: "x86_64" } as GuestContext["system"],
      target: findTarget("kvm"),
      facts: FACTS,
      wishes: { ...NO_WISHES, ...wishes },
      workFolder: "",
    };
  }

  it("names devices by what they hold, in every file, and keeps comments and what it does not know", async () => {
    const { what } = await carryOut("debian", planDeviceNames);
    expect(await trees.text("/etc/fstab")).toBe(
      `# disks\nUUID=${ROOT}  /  ext4  defaults 0 1 # root\n/dev/sdz9 /x ext4 defaults 0 0\n`,
    );
    expect(what.find((each) => each.startsWith("/etc/fstab"))).toContain(
      "/dev/sdz9 stays, its UUID is not known",
    );
    expect(await trees.text("/etc/default/grub")).toContain(`root=UUID=${ROOT} quiet`);
    expect(await trees.text("/etc/default/grub.d/50-site.cfg")).toContain(`"resume=UUID=${ROOT}"`);
    expect(await trees.text("/etc/mdadm/mdadm.conf")).toBe(
      "DEVICE partitions containers\nARRAY /dev/md0 UUID=1:2:3:4\n",
    );
    expect(await trees.text("/etc/lvm/lvm.conf")).toBe(
      'devices {\n\t# filter = [ "a|^/dev/sda.*|", "r|.*|" ]\n\tscan = 1\n}\n',
    );
    expect(await trees.text("/etc/fstab.doppel-original")).toBe(TREES.debian["/etc/fstab"]);
    await carryOut("alpine", planDeviceNames);
    expect(await trees.text("/boot/extlinux.conf")).toContain(`APPEND root=UUID=${ROOT} modules`);
    await carryOut("fedora", planDeviceNames);
    expect(await trees.text("/boot/loader/entries/a.conf")).toContain(`options root=UUID=${ROOT} ro`);
  });

  it("changes a file that links lead to once, where it is, and keeps what it was", async () => {
    const { files } = await carryOut("rhel6", planDeviceNames);
    const [path, original] = ["/boot/grub/grub.conf", "/boot/grub/grub.conf.doppel-original"];
    expect(files).toEqual([{ path, original }]);
    expect(await trees.text("/boot/grub/menu.lst")).toContain(`root=UUID=${ROOT} quiet`);
    expect(await trees.text(original)).toBe(TREES.rhel6["/boot/grub/grub.conf"]);
    expect(await trees.guestfish.run("readlink", "/boot/grub/menu.lst")).toBe("./grub.conf");
  });

  it("names devices by what they hold in GRUB's environment too, which keeps its size", async () => {
    const { files } = await carryOut("rhel8", planDeviceNames);
    const path = "/boot/efi/EFI/redhat/grubenv";
    expect(files).toEqual([{ path, original: `${path}.doppel-original` }]);
    expect(await trees.text("/boot/grub2/grubenv")).toBe(
      ENVIRONMENT_BLOCK.replace("/dev/sda2", `UUID=${ROOT}`).slice(0, 1024),
    );
    expect(await trees.text(`${path}.doppel-original`)).toBe(ENVIRONMENT_BLOCK);
  });

  it("adds a serial console to every kernel's command line, after what other steps changed there", async () => {
    await carryOut("debian", planSerialConsole, { console: true });
    expect(await trees.text("/boot/grub/grub.cfg")).toBe(
      `menuentry x {\n\tlinux\t/vmlinuz root=UUID=${ROOT} ro console=tty0 console=ttyS0,115200\n\tlinux16 /memtest86+x64.bin\n\tinitrd /initrd.img\n}\n`,
    );
    expect(await trees.text("/etc/default/grub")).toContain(`quiet console=tty0 console=ttyS0,115200"\n`);
    expect((await carryOut("debian", planSerialConsole, { console: true })).what).toEqual([]);
    await carryOut("rhel6", planSerialConsole, { console: true });
    expect(await trees.text("/boot/grub/menu.lst")).toContain(
      "quiet console=tty0 console=ttyS0,115200\n\tinitrd /x",
    );
    expect(await trees.text("/etc/inittab")).toMatch(/^S0:2345:respawn:\/sbin\/getty/m);
    await carryOut("alpine", planSerialConsole, { console: true });
    expect(await trees.text("/boot/extlinux.conf")).toMatch(/APPEND .* console=tty0 console=ttyS0,115200$/m);
    await carryOut("fedora", planSerialConsole, { console: true });
    expect(await trees.text("/boot/loader/entries/a.conf")).toMatch(/^options .* console=ttyS0,115200$/m);
  });

  it("switches off what only the old hardware needs, whatever starts services, and what is useful there stays", async () => {
    const { what } = await carryOut("debian", planResidue);
    expect(what.join("\n")).toMatch(
      /IPMI: ipmievd[\s\S]*multipath: multipathd[\s\S]*disk self-tests: smartmontools/,
    );
    expect(what.join("\n")).not.toContain("qemu-guest-agent");
    const { guestfish } = trees;
    for (const unit of [
      "ipmievd.service",
      "smartmontools.service",
      "multipathd.service",
      "multipathd.socket",
    ])
      expect(await guestfish.run("readlink", `/etc/systemd/system/${unit}`)).toBe("/dev/null");
    expect(await trees.text("/etc/systemd/system/ipmievd.service.doppel-original")).toContain("ExecStart=");
    await carryOut("rhel6", planResidue);
    expect(await guestfish.lines("ls", "/etc/rc.d/rc3.d")).toEqual([
      "S10network",
      "doppel-original-S40smartd",
    ]);
    await carryOut("alpine", planResidue);
    expect(await guestfish.lines("ls", "/etc/runlevels/default")).toEqual(["doppel-original-smartd"]);
    expect((await carryOut("debian", planResidue, { keepResidue: true })).what).toEqual([]);
  });

  it("gives cards other addresses in the files of whatever configures them", async () => {
    await carryOut("debian", planNetworkSettings, { network: NETWORK });
    expect(await trees.text("/etc/network/interfaces")).toBe(
      "auto lo\niface lo inet loopback\n\n\nauto eno2\niface eno2 inet dhcp\n\nauto eno1\niface eno1 inet static\n    address 192.0.2.7/24\n    gateway 192.0.2.1\n    dns-nameservers 192.0.2.53\niface eno1 inet6 static\n    address 2001:db8::7/64\n",
    );
    await carryOut("rhel6", planNetworkSettings, { network: NETWORK });
    expect(await trees.text("/etc/sysconfig/network-scripts/ifcfg-eno1")).toBe(
      "DEVICE=eno1\nONBOOT=yes\nBOOTPROTO=none\nIPADDR=192.0.2.7\nPREFIX=24\nIPV6INIT=yes\nIPV6ADDR=2001:db8::7/64\nGATEWAY=192.0.2.1\nDNS1=192.0.2.53\n",
    );
    await carryOut("ubuntu", planNetworkSettings, { network: NETWORK });
    expect(await trees.guestfish.lines("ls", "/etc/netplan")).toEqual([
      "50-cloud-init.yaml.doppel-original",
      "90-doppel.yaml",
    ]);
    expect(await trees.text("/etc/netplan/90-doppel.yaml")).toContain(
      'addresses: ["192.0.2.7/24", "2001:db8::7/64"]',
    );
    await carryOut("suse", planNetworkSettings, { network: NETWORK });
    expect(await trees.text("/etc/sysconfig/network/ifcfg-eno1")).toContain("IPADDR='192.0.2.7/24'");
    expect(await trees.text("/etc/sysconfig/network/ifroute-eno1")).toBe("default 192.0.2.1 - eno1\n");
    const { files } = await carryOut("fedora", planNetworkSettings, { network: NETWORK });
    const keyfile = files[0]?.path ?? "";
    expect(await trees.text(keyfile)).toContain(
      "method=manual\naddress1=192.0.2.7/24,192.0.2.1\ndns=192.0.2.53;",
    );
    // NetworkManager ignores a key file that others can read.
    expect(await trees.guestfish.run("stat", keyfile)).toMatch(/^mode: 33152$/m);
    await expect(
      carryOut("debian", planNetworkSettings, {
        network: NETWORK.map((each) => ({ ...each, card: "eth7" })),
      }),
    ).rejects.toThrow(/no network card eth7/);
  });

  it("keeps the names of cards: by systemd where it is, else by udev", async () => {
    await carryOut("debian", planNetworkNames);
    await carryOut("rhel6", planNetworkNames);
    expect(await trees.text("/etc/udev/rules.d/70-persistent-net.rules")).toContain(
      `ATTR{address}=="${MAC}", ATTR{type}=="1", NAME="eno1"`,
    );
  });

  it("runs scripts on the first boot under each init system", async () => {
    const firstboot = [{ name: "my script; rm.sh", content: Buffer.from("#!/bin/sh\ntrue\n") }];
    await carryOut("debian", planFirstboot, { firstboot, guestAgent: true });
    const { guestfish } = trees;
    const folder = "/usr/local/lib/doppel/firstboot";
    expect(await guestfish.lines("ls", folder)).toEqual([
      "0001-my_script__rm.sh",
      "0002-qemu-guest-agent",
      "run",
    ]);
    expect(
      await guestfish.run("readlink", "/etc/systemd/system/multi-user.target.wants/doppel-firstboot.service"),
    ).toBe("/etc/systemd/system/doppel-firstboot.service");
    await carryOut("rhel6", planFirstboot, { firstboot });
    expect(await guestfish.run("readlink", "/etc/rc.d/rc3.d/S99doppel-firstboot")).toBe(
      "/etc/init.d/doppel-firstboot",
    );
    await carryOut("alpine", planFirstboot, { firstboot });
    expect(await guestfish.run("readlink", "/etc/runlevels/default/doppel-firstboot")).toBe(
      "/etc/init.d/doppel-firstboot",
    );
    expect((await carryOut("debian", planFirstboot)).what).toEqual([]);
  });

  it("labels what it makes for SELinux, and keeps the labels of what it changes", async () => {
    const guestfish = await trees.open("rhel9");
    const label = (type: string) => `system_u:object_r:${type}:s0`;
    const put = async (path: string, type: string) =>
      await guestfish.run("lsetxattr", "security.selinux", label(type), String(label(type).length), path);
    await put("/etc", "etc_t");
    await put("/usr", "usr_t");
    await put("/usr/bin", "bin_t");
    await put("/etc/fstab", "fstab_t");
    await put("/etc/systemd/system", "systemd_unit_file_t");
    const firstboot = [{ name: "script.sh", content: Buffer.from("#!/bin/sh\n") }];
    const files: ChangedFile[] = [];
    for (const planner of [planDeviceNames, planNetworkNames, planResidue, planFirstboot])
      files.push(...(await carryOut("rhel9", planner, { firstboot })).files);
    const found: Record<string, string> = {};
    for (const path of files.flatMap(({ path, original }) => [path, ...(original ? [original] : [])]))
      found[path] = (await guestfish.tryRun("lgetxattr", path, "security.selinux")) ?? "none";
    expect(found).toEqual({
      "/etc/fstab": label("fstab_t"),
      "/etc/fstab.doppel-original": label("fstab_t"),
      // systemd's own folder had no label.
      "/etc/systemd/network/70-doppel-eno1.link": "none",
      "/etc/systemd/system/ipmievd.service": label("systemd_unit_file_t"),
      "/etc/systemd/system/ipmievd.service.doppel-original": "none",
      "/usr/local/lib/doppel/firstboot/run": label("bin_t"),
      "/usr/local/lib/doppel/firstboot/0001-script.sh": label("bin_t"),
      "/etc/systemd/system/doppel-firstboot.service": label("systemd_unit_file_t"),
      "/etc/systemd/system/multi-user.target.wants/doppel-firstboot.service": label("systemd_unit_file_t"),
    });
    expect(await guestfish.run("lgetxattr", "/usr/local/lib/doppel", "security.selinux")).toBe(
      label("usr_t"),
    );
  });

  it("makes copies safe: no keys, ids, leases and logs of the original; its other files stay", async () => {
    await carryOut("debian", planSysprep, { sysprep: true, hostname: "copy7" });
    expect(await trees.guestfish.lines("ls", "/etc/ssh")).toEqual(["sshd_config"]);
    expect(await trees.text("/etc/machine-id")).toBe("");
    expect(await trees.text("/var/log/nginx/access.log")).toBe("");
    expect(await trees.guestfish.lines("ls", "/var/lib/dhcp")).toEqual([]);
    expect(await trees.text("/etc/hostname")).toBe("copy7\n");
    expect(await trees.text("/etc/hosts")).toBe("127.0.0.1 localhost\n10.0.0.5 copy7 db1.example.net db10\n");
    await carryOut("rhel6", planSysprep, { hostname: "copy7" });
    expect(await trees.text("/etc/sysconfig/network")).toBe("NETWORKING=yes\nHOSTNAME=copy7\n");
  });

  it("puts aside what remembers the old disks", async () => {
    const { files } = await carryOut("debian", planStaleCaches);
    expect(files).toEqual([
      { path: "/boot/grub/device.map", original: "/boot/grub/device.map.doppel-original" },
    ]);
  });

  it("puts the loader of the old boot order where new firmware looks, with what it needs; one that is there stays", async () => {
    const { what } = await carryOut("ubuntu", planFallbackLoader);
    expect(what).toHaveLength(1);
    expect(await trees.text("/boot/efi/EFI/BOOT/BOOTX64.EFI")).toBe("shim");
    expect(await trees.text("/boot/efi/EFI/BOOT/grubx64.efi")).toBe("grub");
    expect(await trees.text("/boot/efi/EFI/BOOT/grub.cfg")).toBe("configfile\n");
    expect((await carryOut("ubuntu", planFallbackLoader)).what).toEqual([]);
    expect((await carryOut("suse", planFallbackLoader)).what).toEqual([]);
    expect(await trees.text("/boot/efi/EFI/BOOT/bootx64.efi")).toBe("there already");
  });

  it("finds the initramfs of a kernel by what is in it, where its name does not tell", async () => {
    const { what, files } = await carryOut("gentoo", planInitramfs);
    expect(what).toEqual([
      expect.stringMatching(/^\/boot\/initramfs-genkernel-x86_64: virtio_pci, virtio_blk, .*unknown/),
    ]);
    expect(files).toMatchObject([{ original: "/boot/initramfs-genkernel-x86_64.doppel-original" }]);
  });

  it("takes names and texts of a guest as they are, whatever they look like", async () => {
    const guestfish = await trees.open("debian");
    const long = "ä".repeat(120);
    const path = `/etc/a"b\\c\nrm-rf "/etc" | $(x) ${[long, long, long, long, long].join("/")}`;
    await guestfish.run("mkdir-p", dirname(path));
    for (const text of ["", 'a "quoted\\" line\n\n', "ß\n".repeat(1200), "x".repeat(300_000), "a\0b\n"]) {
      await guestfish.write(path, text);
      expect(await trees.text(path)).toBe(text);
      await guestfish.append(path, Buffer.from("end"));
      expect(await trees.text(path)).toBe(`${text}end`);
    }
    const large = Buffer.alloc(3 * 1024 * 1024, "more than a message");
    await guestfish.write(path, large);
    expect(large.equals((await guestfish.read(path)) ?? Buffer.alloc(0))).toBe(true);
    await expect(guestfish.run("rm", `${path}\n`)).rejects.toMatchObject({ code: "guestfs-failed" });
    expect(await guestfish.tryRun("is-dir", "/etc")).toBe("true");
    await guestfish.run("rm", path);
  });

  it("refuses what it cannot make boot, with the reason and a way out, before anything is written", async () => {
    await expect(carryOut("suse", planInitramfs)).rejects.toMatchObject({
      code: "conversion-refused",
      exitCode: 3,
      message: expect.stringMatching(/unified kernel images.*opensuse\.efi/),
      hint: expect.stringContaining("virtio_blk"),
    });
    await expect(carryOut("fedora", planInitramfs)).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(/no kernel of the guest can drive kvm disks \(6\.1\.0-test-amd64\)/),
    });
    const { guestfish } = await context("debian");
    const step = { name: "x", what: "x", why: "x", apply: async () => [] };
    const adds = (bytes: number) => [{ ...step, adds: [{ path: "/boot/initrd.img", bytes }] }];
    await checkFreeSpace(guestfish, adds(1024 * 1024));
    await expect(checkFreeSpace(guestfish, adds(64 * 1024 * 1024))).rejects.toMatchObject({
      exitCode: 3,
      message: expect.stringMatching(/^\/ of the guest has .* free, the conversion needs 66\.0 MiB$/),
    });
  });
});

import { describe, expect, it } from "vitest";
import { rewriteCommandLines, rewriteTable, uuidsByDevice } from "../../../../src/guest/linux/device-text.ts";
import type { MachineFacts } from "../../../../src/machine/facts.ts";

const UUIDS = new Map([
  ["/dev/sda2", "UUID=aaaa-1"],
  ["/dev/sda3", "UUID=bbbb-2"],
  ["/dev/nvme0n1p1", "UUID=cccc-3"],
]);

const FSTAB = `# /dev/sda2 was root
/dev/sda2\t/      ext4   errors=remount-ro 0 1
UUID=x          /boot  ext4   defaults 0 2   # by hand
/dev/mapper/vg-home /home xfs defaults 0 2

/dev/sda3  none swap sw 0 0
/dev/sdz9  /old ext4 noauto 0 0
  /dev/nvme0n1p1   /fast xfs defaults 0 2
//server/share /mnt cifs _netdev 0 0
`;

describe("device names in fstab", () => {
  it("become UUIDs; comments, blanks and stable names stay", () => {
    const { text, changes, unknown } = rewriteTable(FSTAB, 0, UUIDS);
    expect(text).toBe(
      FSTAB.replace("/dev/sda2\t", "UUID=aaaa-1\t")
        .replace("/dev/sda3  none", "UUID=bbbb-2  none")
        .replace("/dev/nvme0n1p1", "UUID=cccc-3"),
    );
    expect(changes).toHaveLength(3);
    expect(unknown).toEqual(["/dev/sdz9"]);
  });

  it("are the second field of crypttab", () => {
    const { text } = rewriteTable("secret /dev/sda2 none luks\n", 1, UUIDS);
    expect(text).toBe("secret UUID=aaaa-1 none luks\n");
  });
});

describe("device names on a kernel command line", () => {
  it("become UUIDs after root= and resume=, and nowhere else", () => {
    const before =
      'linux /vmlinuz root=/dev/sda2 ro resume=/dev/sda3 fsck.root=/dev/sda2 init=/dev/sda2\nset root="hd0,gpt2"\n';
    const { text, changes } = rewriteCommandLines(before, UUIDS);
    expect(text).toContain("linux /vmlinuz root=UUID=aaaa-1 ro resume=UUID=bbbb-2 ");
    expect(text).toContain('init=/dev/sda2\nset root="hd0,gpt2"');
    expect(changes).toHaveLength(2);
  });

  it("stay when they are stable, or not known", () => {
    const before = "root=/dev/mapper/vg-root resume=UUID=1 root=/dev/sdq1";
    expect(rewriteCommandLines(before, UUIDS)).toEqual({ text: before, changes: [], unknown: ["/dev/sdq1"] });
  });

  it("become UUIDs where an initramfs of Arch or Gentoo opens them", () => {
    const before = "real_root=/dev/sda2 cryptdevice=/dev/sda3:root:allow-discards crypt_root=/dev/nvme0n1p1";
    expect(rewriteCommandLines(before, UUIDS).text).toBe(
      "real_root=UUID=aaaa-1 cryptdevice=UUID=bbbb-2:root:allow-discards crypt_root=UUID=cccc-3",
    );
  });
});

describe("what a device held", () => {
  const device = { kind: "partition", mounts: [], links: [] };
  const facts = {
    block: [
      {
        ...device,
        path: "/dev/sda2",
        fsUuid: "aaaa-1",
        links: [
          "/dev/disk/by-id/ata-DISK_0001-part2",
          "/dev/disk/by-id/wwn-0x5000-part2",
          "/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part2",
        ],
      },
      { ...device, path: "/dev/cciss/c0d0p1", fsUuid: "bbbb-2" },
      { ...device, path: "/dev/dm-0", kind: "multipath", dmName: "mpatha-part1", fsUuid: "cccc-3" },
      {
        ...device,
        path: "/dev/dm-1",
        kind: "lvm",
        dmName: "vg-home",
        fsUuid: "dddd-4",
        links: ["/dev/disk/by-id/dm-name-vg-home"],
      },
    ],
  } as unknown as MachineFacts;

  it("is found by the names that its maker, its place or its controller gave it", () => {
    const text = [
      "/dev/disk/by-id/ata-DISK_0001-part2 / ext4",
      "/dev/disk/by-id/wwn-0x5000-part2 / ext4",
      "/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part2 / ext4",
      "/dev/cciss/c0d0p1 /boot ext3",
      "/dev/mapper/mpatha-part1 /san xfs",
    ].join("\n");
    expect(rewriteTable(text, 0, uuidsByDevice(facts)).text.match(/^UUID=\S+/gm)).toEqual([
      "UUID=aaaa-1",
      "UUID=aaaa-1",
      "UUID=aaaa-1",
      "UUID=bbbb-2",
      "UUID=cccc-3",
    ]);
    const line =
      "linux /vmlinuz root=/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part2 resume=/dev/cciss/c0d0p1";
    expect(rewriteCommandLines(line, uuidsByDevice(facts)).text).toBe(
      "linux /vmlinuz root=UUID=aaaa-1 resume=UUID=bbbb-2",
    );
  });

  it("is not asked where the name comes from what lies on the disks; a disk that is not known is told", () => {
    const text =
      "/dev/mapper/vg-home /home xfs\n/dev/disk/by-id/dm-name-vg-home /h xfs\n/dev/disk/by-id/usb-STICK-part1 /s vfat\n";
    expect(rewriteTable(text, 0, uuidsByDevice(facts))).toEqual({
      text,
      changes: [],
      unknown: ["/dev/disk/by-id/usb-STICK-part1"],
    });
  });

  it("is found by the partition's number where nobody saw the machine run and it has one disk", () => {
    const partition = { ...device, path: "/dev/sda4", partition: 4, fsUuid: "eeee-5" };
    const disk = { ...device, path: "/dev/sda", kind: "disk" };
    const uuidOf = (name: string, ...block: object[]) =>
      uuidsByDevice({ block } as unknown as MachineFacts).get(name);
    const name = "/dev/disk/by-id/ata-DISK_0001-part4";
    expect(uuidOf(name, disk, partition)).toBe("UUID=eeee-5");
    expect(uuidOf("/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part4", disk, partition)).toBe("UUID=eeee-5");
    expect(uuidOf("/dev/disk/by-id/ata-DISK_0001-part1", disk, partition)).toBeUndefined();
    expect(uuidOf("/dev/disk/by-id/usb-STICK-part4", disk, partition)).toBeUndefined();
    expect(uuidOf("/dev/disk/by-path/pci-0000:00:14.0-usb-0:1-part4", disk, partition)).toBeUndefined();
    expect(uuidOf(name, disk, { ...disk, path: "/dev/sdb" }, partition)).toBeUndefined();
    const links = ["/dev/disk/by-id/ata-OTHER-part4"];
    expect(uuidOf(name, disk, { ...partition, links })).toBeUndefined();
  });
});

import { describe, expect, it } from "vitest";
import { rewriteCommandLines, rewriteTable } from "../../../../src/guest/linux/device-text.ts";

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
});

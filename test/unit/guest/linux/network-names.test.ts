import { describe, expect, it } from "vitest";
import { encodeCpio, FILE_MODE } from "../../../../src/guest/linux/cpio.ts";
import { Initramfs } from "../../../../src/guest/linux/initramfs.ts";
import { linkFiles, missingLinkFiles } from "../../../../src/guest/linux/network-names.ts";
import type { MachineFacts } from "../../../../src/machine/facts.ts";

const nic = (name: string, more: object) => ({ name, kind: "physical", addresses: [], ...more });

describe("link files", () => {
  it("give each physical card its name by the address that it was built with", () => {
    const nics = [
      nic("ens4", { mac: "52:54:00:aa:bb:cc" }),
      nic("eno1", { mac: "02:00:00:00:00:01", permanentMac: "0c:c4:7a:00:00:01" }),
      nic("bond0", { kind: "bond", mac: "0c:c4:7a:00:00:01" }),
    ];
    expect(linkFiles({ nics } as unknown as MachineFacts)).toEqual([
      {
        path: "/etc/systemd/network/70-doppel-ens4.link",
        content: "[Match]\nMACAddress=52:54:00:aa:bb:cc\n\n[Link]\nName=ens4\n",
      },
      {
        path: "/etc/systemd/network/70-doppel-eno1.link",
        content: "[Match]\nMACAddress=0c:c4:7a:00:00:01\n\n[Link]\nName=eno1\n",
      },
    ]);
  });

  it("are not made of names or addresses that are none: they come from another machine", () => {
    const nics = [
      nic("../../etc/passwd", { mac: "52:54:00:aa:bb:cc" }),
      nic("eth0\nName=x", { mac: "52:54:00:aa:bb:cc" }),
      nic("eth0", { mac: "52:54:00\n" }),
    ];
    expect(linkFiles({ nics } as unknown as MachineFacts)).toEqual([]);
  });

  it("are in every initramfs that names cards, and put there once", async () => {
    const facts = { nics: [nic("ens4", { mac: "52:54:00:aa:bb:cc" })] } as unknown as MachineFacts;
    const withFiles = (...members: { path: string; text: string }[]) =>
      Initramfs.read(
        encodeCpio(members.map(({ path, text }) => ({ path, mode: FILE_MODE, content: Buffer.from(text) }))),
      );
    const [file] = linkFiles(facts);
    const udev = { path: "usr/bin/udevadm", text: "" };
    const own = { path: file?.path.slice(1) ?? "", text: file?.content ?? "" };
    expect(missingLinkFiles(await withFiles(udev), facts)).toMatchObject([{ path: own.path }]);
    expect(missingLinkFiles(await withFiles(udev, { ...own, text: "old" }), facts)).toHaveLength(1);
    expect(missingLinkFiles(await withFiles(udev, own), facts)).toEqual([]);
    expect(missingLinkFiles(await withFiles({ path: "bin/busybox", text: "" }), facts)).toEqual([]);
  });
});

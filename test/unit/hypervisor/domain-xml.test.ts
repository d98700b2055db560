import { describe, expect, it } from "vitest";
import { type DomainDescription, domainXml, targetName } from "../../../src/hypervisor/domain-xml.ts";

const domain: DomainDescription = {
  name: "web1",
  uuid: "6a5f3c1e-0000-4000-8000-000000000001",
  imageDigest: `sha256:${"a".repeat(64)}`,
  type: "kvm",
  machine: "pc-q35-7.2",
  arch: "x86_64",
  cpus: 4,
  memoryBytes: 2 ** 31,
  clock: "utc",
  firmware: { type: "bios" },
  disks: [{ path: "/store/disk0.qcow2", serial: "S1" }],
  diskBus: "virtio-blk",
  nics: [{ mac: "52:54:00:00:00:01", network: "default" }],
  consoleLog: "/store/console.log",
  owner: { uid: 0, gid: 0 },
};

describe("domain XML", () => {
  it("names disks as Linux does, past the alphabet", () => {
    expect([0, 25, 26, 27, 51, 52, 701, 702].map((index) => targetName("vd", index))).toEqual([
      "vda",
      "vdz",
      "vdaa",
      "vdab",
      "vdaz",
      "vdba",
      "vdzz",
      "vdaaa",
    ]);
    const xml = domainXml({ ...domain, disks: Array.from({ length: 30 }, () => ({ path: "/x" })) });
    expect(new Set(xml.match(/dev="vd\w+"/g)).size).toBe(30);
  });

  it("keeps what comes from outside as text: no element, no attribute, no control character", () => {
    const xml = domainXml({ ...domain, disks: [{ path: `/a"/><evil b='&\u0001` }] });
    expect(xml).toContain("/a&quot;/&gt;&lt;evil b=&apos;&amp;?");
    expect(xml).not.toContain("<evil");
  });

  it("has a clock that shows what the guest takes it for", () => {
    expect(domainXml(domain)).toContain('<clock offset="utc"/>');
    expect(domainXml({ ...domain, clock: "localtime" })).toContain('<clock offset="localtime"/>');
  });

  it("puts disks on the bus that is asked for", () => {
    expect(domainXml(domain)).toContain('<target dev="vda" bus="virtio"/>');
    const scsi = domainXml({ ...domain, diskBus: "virtio-scsi" });
    expect(scsi).toContain('<controller type="scsi" model="virtio-scsi"/>');
    expect(scsi).toContain('<target dev="sda" bus="scsi"/>');
    expect(domainXml({ ...domain, diskBus: "sata" })).toContain('<target dev="sda" bus="sata"/>');
    const nvme = domainXml({ ...domain, diskBus: "nvme", disks: [{ path: "/a,b.qcow2", serial: "S1" }] });
    expect(nvme).toContain("file=/a,,b.qcow2");
    expect(nvme).toContain('<qemu:arg value="nvme,drive=nvme-disk0,serial=S1,bootindex=1"/>');
    expect(nvme).not.toContain("<disk");
  });

  it("has firmware files of UEFI only for UEFI", () => {
    expect(domainXml(domain)).not.toContain("<nvram");
    const firmware = {
      type: "uefi",
      code: "/ovmf/code.fd",
      varsTemplate: "/ovmf/vars.fd",
      vars: "/i/nvram.fd",
    } as const;
    const xml = domainXml({ ...domain, firmware });
    expect(xml).toContain('<loader readonly="yes" type="pflash">/ovmf/code.fd</loader>');
    expect(xml).toContain('<nvram template="/ovmf/vars.fd">/i/nvram.fd</nvram>');
  });
});

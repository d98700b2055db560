import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskImage } from "../../fixtures/disks.ts";
import { foreignDisk } from "../../fixtures/foreign-disk.ts";
import { parsePartitionTable } from "../../src/import/clonezilla/partition-table.ts";
import { Doppel, must, possible } from "./doppel.ts";

const MIB = 1024 * 1024;

/** As VMware's tools write it: SHA1, the manifest second, disks listed in another order than the controller has them. */
const VMWARE_OVF = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope vmw:buildId="build-1" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href="vm-disk2.vmdk" ovf:id="file2"/>
    <File ovf:href="vm-disk1.vmdk" ovf:id="file1"/>
  </References>
  <DiskSection><Info>disks</Info>
    <Disk ovf:capacity="10" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk2" ovf:fileRef="file2"/>
    <Disk ovf:capacity="72" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1"/>
  </DiskSection>
  <VirtualSystem ovf:id="vm">
    <Info>A virtual machine</Info><Name>R&amp;D 7</Name>
    <VirtualHardwareSection><Info>hardware</Info>
      <Item><rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>3072</rasd:VirtualQuantity></Item>
      <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource><rasd:InstanceID>8</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>9</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:Address>00:50:56:AB:CD:EF</rasd:Address><rasd:ElementName>ethernet0</rasd:ElementName><rasd:InstanceID>10</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;

describe.skipIf(!possible)("doppel import", () => {
  const doppel = new Doppel();
  let disk: DiskImage;
  let at: (name: string) => string;

  beforeAll(async () => {
    disk = foreignDisk(9);
    at = (name) => join(disk.folder, name);
    mkdirSync(at("vm"));
    const second = at("second.raw");
    execFileSync("truncate", ["-s", String(10 * MIB), second]);
    writeFileSync(second, "the second disk", { flag: "r+" });
    const stream = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"];
    await must("qemu-img", ...stream, disk.path, at("vm/vm-disk1.vmdk"));
    await must("qemu-img", ...stream, second, at("vm/vm-disk2.vmdk"));
    await doppel.json("import", disk.path, second, "--name", "raw/two", "--no-inspect");
    await doppel.json("import", disk.path, "--name", "raw/one", "--no-inspect");
  });
  afterAll(() => {
    disk?.[Symbol.dispose]();
    doppel[Symbol.dispose]();
  });

  async function maps(ref: string): Promise<unknown[]> {
    return ((await doppel.json("images", "show", ref)).disks as { map: string }[]).map((each) => each.map);
  }

  async function ova(
    name: string,
    { ovf = VMWARE_OVF, manifest = manifestOf(ovf), options = [] as string[] } = {},
  ): Promise<string> {
    writeFileSync(at("vm/vm.ovf"), ovf);
    writeFileSync(at("vm/vm.mf"), manifest);
    const members = ["vm.ovf", "vm.mf", "vm-disk2.vmdk", "vm-disk1.vmdk"];
    await must("tar", "--format=ustar", "-C", at("vm"), "-cf", at(name), ...options, ...members);
    return at(name);
  }

  function manifestOf(ovf: string): string {
    const sha1 = (content: string | Buffer) => createHash("sha1").update(content).digest("hex");
    const lines = ["vm-disk1.vmdk", "vm-disk2.vmdk"].map((name) => [
      name,
      sha1(readFileSync(at(`vm/${name}`))),
    ]);
    return [["vm.ovf", sha1(ovf)], ...lines].map(([name, digest]) => `SHA1(${name})= ${digest}\n`).join("");
  }

  const refused = async (path: string) => {
    const { code, stderr } = await doppel.run("import", path, "--name", "refused", "--no-inspect");
    expect(code).toBe(1);
    expect(stderr).toContain("appliance-invalid");
    return stderr;
  };

  it("of an OVA as VMware makes it has its disks in the machine's order, and its machine", async () => {
    const result = await doppel.json("import", await ova("vm.ova"), "--name", "vmware", "--no-inspect");
    expect(result).toMatchObject({ host: "R&D 7", files: [{ format: "vmdk" }, { format: "vmdk" }] });
    expect(await maps("vmware")).toEqual(await maps("raw/two"));
    const { facts } = await doppel.json("inspect", "vmware", "--image");
    expect(facts).toMatchObject({
      hardware: { cpus: 4, memoryBytes: 3 * 1024 * MIB },
      firmware: { type: "uefi" },
      nics: [{ kind: "physical", mac: "00:50:56:ab:cd:ef", driver: "vmxnet3" }],
    });
    await doppel.json("export", "vmware", "--disk", "0", "-o", at("again.raw"));
    await must("qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", at("again.raw"), disk.path);
    expect((await doppel.run("images", "verify", "vmware")).code).toBe(0);
  });

  it("has network cards by the names that are given for them", async () => {
    const cards = ["--card", "ens192=00:50:56:AB:CD:EF", "--card", "ens224=00:50:56:00:00:02"];
    await doppel.json("import", await ova("vm.ova"), "--name", "named", "--no-inspect", ...cards);
    const { facts } = await doppel.json("inspect", "named", "--image");
    expect(facts).toMatchObject({
      nics: [
        { name: "ens192", kind: "physical", mac: "00:50:56:ab:cd:ef", driver: "vmxnet3" },
        { name: "ens224", kind: "physical", mac: "00:50:56:00:00:02" },
      ],
    });
    for (const card of ["ens192", "ens192=00:50:56", "a/b=00:50:56:00:00:02"])
      expect((await doppel.run("import", at("vm.ova"), "--name", "x", "--card", card)).code).toBe(2);
    const twice = ["--card", "ens192=00:50:56:00:00:02", "--card", "ens192=00:50:56:00:00:03"];
    expect((await doppel.run("import", at("vm.ova"), "--name", "x", ...twice)).code).toBe(2);
  });

  it("of an OVF takes the files beside it", async () => {
    await ova("unused.ova");
    await doppel.json("import", at("vm/vm.ovf"), "--name", "folder", "--no-inspect");
    expect(await maps("folder")).toEqual(await maps("raw/two"));
  });

  it("takes back what doppel export wrote", async () => {
    await doppel.json("export", "raw/two", "-o", at("ours.ova"));
    await doppel.json("import", at("ours.ova"), "--name", "ours", "--no-inspect");
    expect(await maps("ours")).toEqual(await maps("raw/two"));
  });

  it.each([
    [
      "whose manifest says otherwise",
      { manifest: `SHA1(vm-disk1.vmdk)= ${"0".repeat(40)}\n` },
      "its manifest says",
    ],
    ["whose manifest leaves a disk out", { manifest: "" }, "does not list"],
    [
      "with a document type",
      { ovf: `<!DOCTYPE x [<!ENTITY a "b">]>${VMWARE_OVF.split("?>")[1]}` },
      "document type",
    ],
    ["with an entity of its own", { ovf: VMWARE_OVF.replace("R&amp;D", "&secret;") }, "entity"],
    [
      "that names a file elsewhere",
      { ovf: VMWARE_OVF.replace("vm-disk1.vmdk", "../../etc/passwd") },
      "elsewhere",
    ],
    [
      "that names a file it does not hold",
      { ovf: VMWARE_OVF.replace("vm-disk1.vmdk", "none.vmdk") },
      "does not hold",
    ],
    [
      "with a member that would lie elsewhere",
      { options: ["-P", "--transform=s,^vm-disk2,../vm-disk2,"] },
      "elsewhere",
    ],
    [
      "with a disk that is on no list",
      { ovf: VMWARE_OVF.replace("/disk/vmdisk1", "/disk/other") },
      "section of disks",
    ],
    ["that is no XML", { ovf: "<Envelope>" }, "not XML"],
  ])("refuses an OVA %s", async (_, changes, why) => {
    expect(await refused(await ova("bad.ova", changes))).toContain(why);
  });

  it("of a partclone image, whole or in Clonezilla's pieces, is the partition", async () => {
    const partition = disk.attach({ offsetBytes: MIB, lengthBytes: 60 * MIB, readOnly: true });
    await must("dd", `if=${partition}`, `of=${at("partition.raw")}`, "bs=1M", "status=none");
    await must("partclone.ext4", "-c", "-q", "-L", "/dev/null", "-s", partition, "-o", at("part.img"));
    await must("bash", "-c", `gzip -c ${at("part.img")} | split -b 1M - ${at("sda1.ext4-ptcl-img.gz.")}`);
    await must("bash", "-c", `zstd -q ${at("part.img")} -o ${at("part.img.zst")}`);
    await doppel.json("import", at("partition.raw"), "--name", "partition", "--no-inspect");
    for (const name of ["part.img", "part.img.zst", "sda1.ext4-ptcl-img.gz.aa"]) {
      await doppel.json("import", at(name), "--name", "partclone", "--no-inspect");
      expect(await maps("partclone")).toEqual(await maps("partition"));
    }
    await doppel.json("export", "partclone", "-o", at("partclone.raw"));
    await must(
      "qemu-img",
      "compare",
      "-q",
      "-f",
      "raw",
      "-F",
      "raw",
      at("partclone.raw"),
      at("partition.raw"),
    );
  });

  /** What Clonezilla's savedisk leaves of a disk: its tables, and the boot code. */
  async function clonezillaFolder(name: string, path: string): Promise<string> {
    const folder = at(name);
    mkdirSync(folder);
    writeFileSync(join(folder, "disk"), "sda\n");
    writeFileSync(join(folder, "parts"), "sda1 sda2\n");
    const dump = await must("sfdisk", "--dump", path);
    writeFileSync(join(folder, "sda-pt.sf"), dump.replaceAll(`${path}`, "/dev/sda"));
    const sectors = statSync(path).size / 512;
    writeFileSync(
      join(folder, "sda-pt.parted"),
      `Model: ATA\nDisk /dev/sda: ${sectors}s\nSector size: 512B\n`,
    );
    await must("dd", `if=${path}`, `of=${join(folder, "sda-mbr")}`, "bs=512", "count=1", "status=none");
    const gap = ["bs=512", "skip=1", "count=2047", "status=none"];
    await must("dd", `if=${path}`, `of=${join(folder, "sda-hidden-data-after-mbr")}`, ...gap);
    return folder;
  }

  it("of a folder of Clonezilla is the disk: a GPT, pieces by partclone, and by dd", async () => {
    const folder = await clonezillaFolder("2026-11-24-img", disk.path);
    const file = (name: string) => join(folder, name);
    const [root, plain] = [
      disk.attach({ offsetBytes: MIB, lengthBytes: 60 * MIB, readOnly: true }),
      disk.attach({ offsetBytes: 61 * MIB, lengthBytes: 8 * MIB, readOnly: true }),
    ];
    const image = `partclone.ext4 -c -q -L /dev/null -s ${root}`;
    await must("bash", "-c", `${image} | gzip | split -b 1M - ${file("sda1.ext4-ptcl-img.gz.")}`);
    await must("bash", "-c", `zstd -q < ${plain} | split -b 1M - ${file("sda2.dd-img.zst.")}`);
    await doppel.json("import", folder, "--name", "clonezilla/gpt", "--no-inspect");
    expect(await maps("clonezilla/gpt")).toEqual(await maps("raw/one"));
    expect((await must("bash", "-c", `ls ${doppel.home}/store/uploads`)).trim()).toBe("");

    writeFileSync(file("sda-pt.sf"), readFileSync(file("sda-pt.sf"), "utf8").replace(/122880/, "122000"));
    const small = await doppel.run("import", folder, "--name", "refused", "--no-inspect");
    expect(small).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/the partition that it belongs to has/),
    });
    rmSync(file("sda1.ext4-ptcl-img.gz.ab"));
    const cut = await doppel.run("import", folder, "--name", "refused", "--no-inspect");
    expect(cut).toMatchObject({ code: 1, stderr: expect.stringMatching(/piece sda1.*gz\.ab is missing/) });
    rmSync(file("sda2.dd-img.zst.aa"));
    const missing = await doppel.run("import", folder, "--name", "refused", "--no-inspect");
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringMatching(/nothing of partition sda2/) });
    writeFileSync(file("disk"), "../../etc\n");
    const elsewhere = await doppel.run("import", folder, "--name", "refused", "--no-inspect");
    expect(elsewhere).toMatchObject({ code: 1, stderr: expect.stringMatching(/does not name disks/) });
  });

  it("of a folder of Clonezilla is the disk: an MBR with a boot loader, swap, and a logical partition", async () => {
    using mbr = new DiskImage(64 * MIB);
    const layout = "label: dos\nstart=2048, size=16M, bootable\nsize=20M, type=82\ntype=5\nsize=16M\n";
    execFileSync("sfdisk", ["-q", mbr.path], { input: layout.replace("size=16M\n", "size=16M, type=83\n") });
    const dump = await must("sfdisk", "--dump", mbr.path);
    const partitions = parsePartitionTable(dump.replaceAll(mbr.path, "/dev/sda"), "the disk").partitions;
    const [boot, swap, , logical] = partitions;
    if (!boot || !swap || !logical) throw new Error(dump);
    const loader = readFileSync("/bin/true").subarray(0, 8192);
    await must("bash", "-c", `head -c 440 /bin/true | dd of=${mbr.path} conv=notrunc status=none`);
    writeFileSync(at("loader"), loader);
    await must("dd", `if=${at("loader")}`, `of=${mbr.path}`, "seek=1", "conv=notrunc", "status=none");
    const attach = ({ offsetBytes, sizeBytes }: typeof boot) =>
      mbr.attach({ offsetBytes, lengthBytes: sizeBytes });
    const [first, second, fifth] = [boot, swap, logical].map(attach);
    for (const loop of [first, fifth]) await must("mkfs.ext4", "-q", "-F", loop ?? "");
    const uuid = "5d0cbd3c-0ef5-4bd2-b2b1-5b0a3a0e7a11";
    await must("mkswap", "-q", "-U", uuid, "-L", "swap0", second ?? "");
    await must("sync");
    const folder = await clonezillaFolder("mbr-img", mbr.path);
    for (const [name, loop] of [
      ["sda1", first],
      ["sda5", fifth],
    ] as const)
      await must(
        "bash",
        "-c",
        `partclone.ext4 -c -q -L /dev/null -s ${loop} | zstd -q > ${folder}/${name}.ext4-ptcl-img.zst`,
      );
    writeFileSync(join(folder, "swappt-sda2.info"), `UUID="${uuid}"\nLABEL="swap0"\n`);
    await doppel.json("import", mbr.path, "--name", "raw/mbr", "--no-inspect");
    await doppel.json("import", folder, "--name", "clonezilla/mbr", "--no-inspect");
    expect(await maps("clonezilla/mbr")).toEqual(await maps("raw/mbr"));
  });

  it("unpacks a packed disk; says when one is damaged, and leaves nothing", async () => {
    await must("bash", "-c", `xz -0 -c ${disk.path} > ${at("disk.img.xz")}`);
    await doppel.json("import", at("disk.img.xz"), "--name", "packed", "--no-inspect");
    expect(await maps("packed")).toEqual(await maps("raw/one"));
    await must("truncate", "-s", "-1000", at("disk.img.xz"));
    const { code, stderr } = await doppel.run("import", at("disk.img.xz"), "--name", "cut", "--no-inspect");
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/damaged.*disk-image-invalid/),
    });
    expect((await must("bash", "-c", `ls ${doppel.home}/store/uploads`)).trim()).toBe("");
  });
});

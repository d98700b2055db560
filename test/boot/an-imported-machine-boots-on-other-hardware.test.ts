import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../fixtures/lab.ts";
import { startLibvirt } from "../../fixtures/libvirt.ts";
import { Doppel, possible } from "../system/doppel.ts";
import { bootReport } from "./boot-report.ts";

const MAC = "52:54:00:de:ad:05";

describe.skipIf(!possible)("a disk image of another program", () => {
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

  it("boots on virtio-scsi once it is imported and converted", async () => {
    const file = join(lab.folder, "theirs.qcow2");
    await doppel.json("export", "physical", "-o", file);
    await doppel.json("import", file, "--name", "theirs", "--card", `ens4=${MAC}`);
    await doppel.json("convert", "theirs", "--to", "kvm", "--name", "theirs/virtual");
    const report = await bootReport(doppel, "theirs/virtual", "virtio-scsi");
    expect(report).toMatchObject({ boots: true, bus: "virtio-scsi", firmware: "bios" });
    expect(report.openPorts).toEqual(expect.arrayContaining([22, 8080]));
  });
});

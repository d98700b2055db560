import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { emptyHive } from "../../fixtures/empty-hive.ts";
import type { Guestfish } from "../../src/guest/guestfish.ts";
import { Hive } from "../../src/guest/windows/hive.ts";
import { parseRegFile, type RegEdit, regFile } from "../../src/guest/windows/reg-file.ts";
import {
  STORAGE_DRIVERS,
  type SystemHive,
  storageDriverEdits,
  temporaryEntries,
} from "../../src/guest/windows/storage-drivers.ts";
import { must } from "./doppel.ts";

const PREFIX = "HKEY_LOCAL_MACHINE\\SYSTEM";

/** Edits are merged by hivexregedit, and read by another program: reglookup. */
describe("edits of the Windows registry", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-hive-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let number = 0;

  function newHive(): string {
    const path = join(folder, `hive${number++}`);
    writeFileSync(path, emptyHive());
    return path;
  }

  async function merge(hive: string, edits: readonly RegEdit[]): Promise<void> {
    const file = `${hive}.reg`;
    writeFileSync(file, regFile(PREFIX, edits));
    await must("hivexregedit", "--merge", "--prefix", PREFIX, hive, file);
  }

  /** `PATH,TYPE,VALUE` of all keys and values, as reglookup prints them: what is no plain character as `%NN`. */
  async function look(hive: string): Promise<string[]> {
    const lines = (await must("reglookup", "-H", hive)).trim().split("\n");
    return lines.map((line) => line.split(",").slice(0, 3).join(","));
  }

  it("make strings, lists, numbers and bytes, at any name, and take keys and values away", async () => {
    const hive = newHive();
    await merge(hive, [
      {
        key: "A\\B c",
        set: {
          "@": { type: "sz", text: "default" },
          Path: { type: "expand-sz", text: "%SystemRoot%\\Drivers" },
          'quo"te\\d': { type: "dword", number: 0xffff_ffff },
          List: { type: "multi-sz", texts: ["one", "two"] },
          Umlaut: { type: "sz", text: "zwei ü" },
          Bytes: { type: "binary", bytes: Buffer.from([0, 1, 0xff]) },
        },
      },
      { key: "A\\gone", set: { x: { type: "dword", number: 1 } } },
    ]);
    const before = await look(hive);
    expect(before).toContain("/A/B c/Path,EXPAND_SZ,%25SystemRoot%25\\Drivers");
    expect(before).toContain("/A/B c/List,MULTI_SZ,one|two");
    expect(before).toContain("/A/B c/Bytes,BINARY,%00%01%FF");
    expect(before.some((line) => line.endsWith("te\\d,DWORD,0xFFFFFFFF"))).toBe(true);
    expect(before).toContain("/A/gone,KEY,");
    await merge(hive, [
      { key: "A\\gone", removeKey: true },
      { key: "A\\B c", remove: ["List"] },
    ]);
    const after = await look(hive);
    expect(after.join("\n")).not.toMatch(/gone|List/);
    expect(after).toContain("/A/B c/Bytes,BINARY,%00%01%FF");
    const exported = parseRegFile(await must("hivexregedit", "--export", "--prefix", PREFIX, hive, "\\A"));
    const values = [...exported].find(([key]) => key.endsWith("\\a\\b c"))?.[1];
    expect(values?.get("path")).toEqual({ type: "expand-sz", text: "%SystemRoot%\\Drivers" });
    expect(values?.get('quo"te\\d')).toEqual({ type: "dword", number: 0xffff_ffff });
    expect(values?.get("umlaut")).toEqual({ type: "sz", text: "zwei ü" });
    expect(values?.get("@")).toEqual({ type: "sz", text: "default" });
  });

  const drivers = (hive: SystemHive) => storageDriverEdits(hive, STORAGE_DRIVERS, "amd64");

  it("of Windows 8 and newer are the driver database's; what is temporary goes without a trace", async () => {
    const system: SystemHive = {
      controlSets: [1],
      hasDriverDatabase: true,
      current: 1,
      services: new Map(),
      overridden: new Set(["viostor"]),
    };
    const hive = newHive();
    const override = "ControlSet001\\Services\\viostor\\StartOverride";
    await merge(hive, [{ key: override, set: { "0": { type: "dword", number: 3 } } }]);
    await merge(hive, drivers(system));
    const found = await look(hive);
    const label = "viostor.inf_amd64_0000000000000000";
    expect(found).toEqual(
      expect.arrayContaining([
        "/ControlSet001/Services/viostor/Type,DWORD,0x00000001",
        "/ControlSet001/Services/viostor/Start,DWORD,0x00000000",
        "/ControlSet001/Services/viostor/Group,SZ,SCSI miniport",
        "/ControlSet001/Services/viostor/ErrorControl,DWORD,0x00000001",
        "/ControlSet001/Services/viostor/ImagePath,EXPAND_SZ,system32\\drivers\\viostor.sys",
        "/ControlSet001/Services/vioscsi/ImagePath,EXPAND_SZ,system32\\drivers\\vioscsi.sys",
        `/DriverDatabase/DriverInfFiles/viostor.inf/,MULTI_SZ,${label}`,
        `/DriverDatabase/DriverInfFiles/viostor.inf/Active,SZ,${label}`,
        "/DriverDatabase/DriverInfFiles/viostor.inf/Configurations,MULTI_SZ,viostor_conf",
        "/DriverDatabase/DeviceIds/PCI/VEN_1AF4&DEV_1001&REV_00/viostor.inf,BINARY,%01%FF%00%00",
        "/DriverDatabase/DeviceIds/PCI/VEN_1AF4&DEV_1042&REV_01/viostor.inf,BINARY,%01%FF%00%00",
        "/DriverDatabase/DeviceIds/PCI/VEN_1AF4&DEV_1048&REV_01/vioscsi.inf,BINARY,%01%FF%00%00",
        `/DriverDatabase/DriverPackages/${label}/Configurations/viostor_conf/ConfigFlags,DWORD,0x00000000`,
        `/DriverDatabase/DriverPackages/${label}/Configurations/viostor_conf/Service,SZ,viostor`,
        `/DriverDatabase/DriverPackages/${label}/Descriptors/PCI/VEN_1AF4&DEV_1001&REV_00/Configuration,SZ,viostor_conf`,
      ]),
    );
    const version = found.find((line) =>
      line.startsWith(`/DriverDatabase/DriverPackages/${label}/Version,BINARY,`),
    );
    expect(hexOf((version ?? "").split(",")[2] ?? "")).toBe(
      `00ff090000000000${"7be9364d25e3ce11bfc108002be10318"}${"00".repeat(24)}`,
    );
    expect(found.join("\n")).not.toMatch(/StartOverride|CriticalDeviceDatabase/);
    await merge(hive, temporaryEntries(system, STORAGE_DRIVERS, "amd64"));
    const rest = (await look(hive)).join("\n");
    expect(rest).not.toMatch(/viostor\.inf|vioscsi\.inf|_conf/);
    expect(rest).toContain("/ControlSet001/Services/viostor/Start,DWORD,0x00000000");
  });

  it("are refused for what is no hive, and for one that is damaged (exit 3)", async () => {
    const open = (content: Buffer) =>
      Hive.open({ read: async () => content } as unknown as Guestfish, "SYSTEM", "/SYSTEM", folder);
    const expected = { code: "hive-corrupt", exitCode: 3, message: expect.stringContaining("/SYSTEM") };
    await expect(open(Buffer.from("no hive at all"))).rejects.toMatchObject(expected);
    const damaged = await open(emptyHive().fill(0xff, 4096));
    const edit = { key: "A", set: { x: { type: "dword", number: 1 } } } as const;
    await expect(damaged.edit([edit])).rejects.toMatchObject(expected);
  });

  it("of Windows 7 are the critical device database's, in every control set that can boot", async () => {
    const system: SystemHive = {
      controlSets: [1, 3],
      current: 1,
      services: new Map(),
      hasDriverDatabase: false,
      overridden: new Set(),
    };
    const hive = newHive();
    await merge(hive, drivers(system));
    const found = await look(hive);
    for (const set of ["ControlSet001", "ControlSet003"]) {
      const device = `/${set}/Control/CriticalDeviceDatabase/PCI#VEN_1AF4&DEV_1001&REV_00`;
      expect(found).toContain(`${device}/Service,SZ,viostor`);
      expect(found).toContain(`${device}/ClassGUID,SZ,{4D36E97B-E325-11CE-BFC1-08002BE10318}`);
      expect(found).toContain(`/${set}/Services/vioscsi/Start,DWORD,0x00000000`);
    }
    expect(found.join("\n")).not.toMatch(/DriverDatabase|ControlSet002/);
    await merge(hive, temporaryEntries(system, STORAGE_DRIVERS, "amd64"));
    expect((await look(hive)).join("\n")).not.toContain("PCI#");
  });
});

/** Bytes as reglookup prints them, `%NN` or a character, as hexadecimal digits. */
function hexOf(text: string): string {
  return text.replace(/%([0-9A-F]{2})|([\s\S])/g, (_all, code?: string, character?: string) =>
    (code ?? (character ?? "").charCodeAt(0).toString(16).padStart(2, "0")).toLowerCase(),
  );
}

import { describe, expect, it } from "vitest";
import { knownVersion, type WindowsVersion } from "../../../../src/guest/windows/versions.ts";

const version = (major: number, minor: number, build: number, server: boolean): WindowsVersion => ({
  major,
  minor,
  build,
  server,
  arch: "amd64",
});

describe("Windows versions", () => {
  it.each([
    [version(6, 1, 7601, false), "Windows 7", "w7"],
    [version(6, 1, 7601, true), "Windows Server 2008 R2", "2k8R2"],
    [version(6, 2, 9200, false), "Windows 8", "w8"],
    [version(6, 2, 9200, true), "Windows Server 2012", "2k12"],
    [version(6, 3, 9600, false), "Windows 8.1", "w8.1"],
    [version(6, 3, 9600, true), "Windows Server 2012 R2", "2k12R2"],
    [version(10, 0, 19045, false), "Windows 10", "w10"],
    [version(10, 0, 22631, false), "Windows 11", "w11"],
    [version(10, 0, 14393, true), "Windows Server 2016", "2k16"],
    [version(10, 0, 17763, true), "Windows Server 2019", "2k19"],
    [version(10, 0, 20348, true), "Windows Server 2022", "2k22"],
    [version(10, 0, 26100, true), "Windows Server 2025", "2k25"],
  ])("are known by their numbers: %j", (of, name, folder) => {
    expect(knownVersion(of)).toMatchObject({ name });
    expect(knownVersion(of)?.folders[0]).toBe(folder);
  });

  it("older than 7 and 2008 R2 are not known", () => {
    expect(knownVersion(version(6, 0, 6002, true))).toBeUndefined();
    expect(knownVersion(version(5, 1, 2600, false))).toBeUndefined();
  });
});

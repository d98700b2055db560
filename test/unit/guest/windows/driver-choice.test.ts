import { describe, expect, it } from "vitest";
import { chooseDrivers } from "../../../../src/guest/windows/driver-choice.ts";

describe("the drivers for a Windows", () => {
  it("are, each, of the best folder for its version and architecture, whatever the case", () => {
    const chosen = chooseDrivers(
      [
        "viostor/2k25/amd64/viostor.inf",
        "viostor/2k25/amd64/viostor.sys",
        "viostor/2k22/amd64/viostor.sys",
        "viostor/2k25/x86/viostor.sys",
        "NetKVM/2k22/AMD64/NetKVM.inf",
        "NetKVM/2k22/AMD64/NetKVM.sys",
        "NetKVM/2k22/AMD64/NetKVM.pdb",
        "Balloon/w7/amd64/balloon.inf",
        "amd64/viostor.inf",
      ],
      ["2k25", "2k22"],
      "amd64",
    );
    expect(Object.fromEntries(chosen)).toEqual({
      "viostor.inf": "viostor/2k25/amd64/viostor.inf",
      "viostor.sys": "viostor/2k25/amd64/viostor.sys",
      "netkvm.inf": "NetKVM/2k22/AMD64/NetKVM.inf",
      "netkvm.sys": "NetKVM/2k22/AMD64/NetKVM.sys",
    });
  });

  it("are found where packages have them, all of a version in one folder", () => {
    const files = [
      "drivers/amd64/w11/viostor.inf",
      "drivers/amd64/w11/viostor.sys",
      "drivers/amd64/w11/vioscsi.inf",
    ];
    expect([...chooseDrivers(files, ["w11", "w10"], "amd64").keys()].sort()).toEqual([
      "vioscsi.inf",
      "viostor.inf",
      "viostor.sys",
    ]);
    expect(chooseDrivers(files, ["w7"], "amd64").size).toBe(0);
  });
});

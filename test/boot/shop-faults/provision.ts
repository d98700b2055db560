import { expect, it } from "vitest";
import type { ShopFarm } from "../shop-farm.ts";
import { DATABASES, INSTALL } from "../shop-farm-file.ts";
import { killedAt } from "./killed.ts";

const IMPATIENT = { provision: { reachable: "5s" } };

/** Ends with two shadows that were started, of which one boots and the other never will. */
export function killedProvisions(farmOf: () => ShopFarm): void {
  it("is as it was once a provision whose process was killed is led back", async () => {
    const farm = farmOf();
    await killedAt(farm, /^started: start the shadow/m, "provision");
    await farm.json("provision", "--undo");
    expect((await farm.domains()).sort()).toEqual(farm.boxes.map(({ live }) => live.domain).sort());
  });

  it("has shadows that go on to start when the provision that began them is killed", async () => {
    const farm = farmOf();
    await killedAt(farm, /(^done: start the shadow[\s\S]*){2}/m, "provision");
    expect(await farm.domains("--state-running")).toHaveLength(4);
    await farm.loseBootLoader("web2");
  });
}

/** Begins where `killedProvisions` has ended, and ends with two shadows that are ready. */
export function faultsOfProvisioning(farmOf: () => ShopFarm): void {
  it("is told which shadow does not boot, and keeps the other one", async () => {
    const farm = farmOf();
    await expect.poll(() => farm.isUp("web1"), { timeout: 300_000, interval: 1000 }).toBe(true);
    farm.describe(IMPATIENT);
    expect(await farm.run("provision")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^doppel: \S+-web2 did not let us in within 5 s: .* \[shadow-unreachable\] - .*'doppel discard \S+-web2'/m,
      ),
    });
    expect(await farm.domains("--state-running")).toHaveLength(4);
    expect(await farm.isUp("web1")).toBe(true);
  });

  it("keeps what was done when a script fails in one shadow, and is told its last words", async () => {
    const farm = farmOf();
    const [, web2] = farm.boxes;
    await farm.doppel.run("discard", web2?.shadow.domain ?? "");
    farm.describe();
    farm.write("install.sh", "#!/bin/sh\necho 'no room left' >&2\nexit 7\n");
    expect(await farm.run("provision")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^doppel: \S*install\.sh on \S+ ended with 7: no room left \[remote-failed\]/m,
      ),
    });
    farm.write("install.sh", INSTALL);
  });

  it("has a shadow with the new version beside each box, also when the process ends on the way", async () => {
    const farm = farmOf();
    await killedAt(farm, /^started: run install\.sh on \S+-web2$/m, "resume");
    const steps = await farm.steps("resume");
    expect(steps.filter(({ step }) => /^box\/web[12]\/(shadow|ready)$/.test(step))).toHaveLength(4);
    expect(steps.every(({ state }) => state === "done")).toBe(true);
    for (const { name } of farm.boxes)
      expect(await farm.inShadow(name, "cat", "/etc/shop/use/*")).toBe("copy\n".repeat(DATABASES.length));
  });
}

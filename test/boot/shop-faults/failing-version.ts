import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { epochMs, type Users } from "../../../fixtures/farm/web.ts";
import type { ShopFarm } from "../shop-farm.ts";

/** After that long with users the new version answers with 500. */
const FAILS_AFTER_MS = 10_000;
const WATCH = "30s";

/** A new version that begins to fail while it is watched; returns how many requests failed. */
export async function failingVersion(farm: ShopFarm, users: Users): Promise<number> {
  farm.describe({ switch: { watch: WATCH } });
  const { failed: before } = await users.report();
  const switching = farm.run("switch");
  let firstMs = 0;
  const hasUsers = async () => {
    firstMs = (await users.report()).versions["2"]?.firstEndedMs ?? 0;
    return firstMs > 0;
  };
  await expect.poll(hasUsers, { timeout: 60_000, interval: 20 }).toBe(true);
  await sleep(firstMs + FAILS_AFTER_MS - epochMs());
  expect((await users.report()).failed).toBe(before);
  await useSessions(farm, "nothing");
  const { code, stderr } = await switching;
  await useSessions(farm, "live");
  expect({ code, stderr }).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /the new version failed after \d\d\.\d s, users have the old one again: .* requests failed \[switched-back\]/,
    ),
  });
  const { failed, failures } = await users.report();
  expect(failures.filter((failure) => !/^ ?status 500 of version 2$/.test(failure))).toEqual([]);
  process.stderr.write(`${stderr.trim().split("\n").at(-1)}\n${failed - before} requests of users failed\n`);
  farm.describe();
  return failed - before;
}

/** Which database of sessions the new version uses; it has no address for `nothing`. */
async function useSessions(farm: ShopFarm, use: string): Promise<void> {
  await Promise.all(farm.boxes.map(({ name }) => farm.inShadow(name, "shop-use", "sessions", use)));
}

import { expect } from "vitest";
import type { ShopFarm } from "../shop-farm.ts";

/** Runs a command of the farm whose process is killed as soon as what it has said matches. */
export async function killedAt(
  farm: ShopFarm,
  said: RegExp,
  command: string,
  ...words: string[]
): Promise<void> {
  const { child, ended } = farm.start(command, ...words);
  let told = "";
  child.stderr?.on("data", (chunk: Buffer | string) => {
    told += String(chunk);
    if (said.test(told)) child.kill("SIGKILL");
  });
  await ended;
  expect({ told, signal: child.signalCode }).toEqual({
    told: expect.stringMatching(said),
    signal: "SIGKILL",
  });
  expect((await farm.run("status")).stdout).toMatch(/^last: .*, was cut off$/m);
}

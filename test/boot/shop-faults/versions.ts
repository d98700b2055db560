import type { Users } from "../../../fixtures/farm/web.ts";

/** The versions that answer the next hundred requests. */
export async function versionsNow(users: Users): Promise<string[]> {
  await users.report();
  return Object.keys((await users.more(100, await users.report())).versions);
}

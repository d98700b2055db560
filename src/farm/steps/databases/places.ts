import { messageOf } from "../../../errors.ts";
import type { FarmContext } from "../../context.ts";
import { type DatabaseAddress, describeAddress } from "../../databases/address.ts";
import type { SqlDatabase } from "../../file/databases.ts";

/** Where a database and its test copy are, for a step's inputs; of an address that cannot be read, why. */
export interface Places {
  live: string;
  copy: string;
}

/** Reads both addresses. One that cannot be read stops no plan: the step that needs it fails. */
export async function placesOf({ databases }: FarmContext, database: SqlDatabase): Promise<Places> {
  const [live, copy] = await Promise.all([shown(databases.live(database)), shown(databases.copy(database))]);
  return { live, copy };
}

async function shown(address: Promise<DatabaseAddress>): Promise<string> {
  try {
    return describeAddress(await address);
  } catch (error) {
    return messageOf(error);
  }
}

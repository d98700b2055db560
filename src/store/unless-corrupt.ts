import { DoppelError } from "../errors.ts";

/** What can be read, or undefined when it is missing or corrupt: for those who look for what is sound among what may not be. */
export async function unlessCorrupt<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof DoppelError && error.code !== "interrupted") return undefined;
    throw error;
  }
}

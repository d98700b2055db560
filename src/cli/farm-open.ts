import { FarmContext } from "../farm/context.ts";
import { loadFarm } from "../farm/file/load.ts";
import type { Journal } from "../farm/journal/journal.ts";
import { ImageStore } from "../store/image-store.ts";

export interface OpenFarm extends AsyncDisposable {
  context: FarmContext;
  journal: Journal;
}

/** Reads a farm file, and opens the store that has its journal. */
export async function openFarm(path: string): Promise<OpenFarm> {
  const farm = await loadFarm(path);
  const store = await ImageStore.open();
  const context = new FarmContext(farm, store);
  context.tell = (line) => void process.stderr.write(`${line}\n`);
  return {
    context,
    journal: context.journal,
    [Symbol.asyncDispose]: async () => {
      await context[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

import { Command } from "commander";
import { formatReference, parseLocalReference, parseReference } from "../image/reference.ts";
import { refuseInUse } from "../store/gc.ts";
import { ImageStore } from "../store/image-store.ts";
import { printJson } from "./output.ts";

interface JsonOption {
  json?: boolean;
}

/** `doppel images tag`, `untag`. */
export function tagCommands(): Command[] {
  return [
    new Command("tag")
      .description("give an image another name; a name that is there already moves to it")
      .argument("<ref>")
      .argument("<name>")
      .option("--json", "print the result as JSON")
      .action(tag),
    new Command("untag")
      .description("take a name away; what it named stays until 'doppel images gc'")
      .argument("<ref>")
      .option("--json", "print the result as JSON")
      .action(untag),
  ];
}

async function tag(ref: string, name: string, options: JsonOption): Promise<void> {
  const reference = parseLocalReference(name);
  await using store = await ImageStore.open();
  const digest = store.find(parseReference(ref));
  const before = store.tag(reference, digest);
  if (options.json) return printJson({ name: formatReference(reference), digest, before: before ?? null });
  const moved = before !== undefined && before !== digest ? `, no longer ${before}` : "";
  process.stdout.write(`${formatReference(reference)} is ${digest}${moved}\n`);
}

async function untag(ref: string, options: JsonOption): Promise<void> {
  const reference = parseLocalReference(ref);
  await using store = await ImageStore.open();
  const { digest } = store.untag(reference, refuseInUse(store, reference));
  if (options.json) printJson({ name: formatReference(reference), digest });
  else process.stdout.write(`${formatReference(reference)} no longer names ${digest}\n`);
}

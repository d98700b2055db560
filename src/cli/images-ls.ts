import { Command } from "commander";
import { parseFilters } from "../store/filter.ts";
import { ImageStore } from "../store/image-store.ts";
import { imageTable } from "./image-table.ts";
import { listedImages } from "./listed-images.ts";
import { printJson } from "./output.ts";

/** `doppel images ls`. */
export function listCommand(): Command {
  return new Command("ls")
    .description("list them, the newest first")
    .option(
      "--filter <text>",
      "only what meets it: host=db1, os=debian, name=web*, tag!=latest, grade=, boots=yes, label.team=web, revoked=yes, captured>7d; can be given again",
      (text: string, all: string[]) => [...all, text],
      [],
    )
    .option("--json", "print the result as JSON")
    .action(list);
}

async function list(options: { json?: boolean; filter: string[] }): Promise<void> {
  const meets = parseFilters(options.filter);
  const now = new Date();
  await using store = await ImageStore.open();
  const images = (await listedImages(store)).filter((image) => meets(image, now));
  if (options.json) printJson(images);
  else process.stdout.write(imageTable(images, now));
}

import { Command } from "commander";
import { farmJsonSchema } from "../farm/file/json-schema.ts";
import { printJson } from "./output.ts";

/** `doppel farm schema`: the JSON Schema of farm files, for editors. */
export function farmSchemaCommand(): Command {
  return new Command("schema")
    .description("print the JSON Schema of farm files, with which editors complete them")
    .action(() => printJson(farmJsonSchema()));
}

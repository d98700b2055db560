import { Command } from "commander";
import { migrationCommand } from "./farm-migration.ts";

/** `doppel farm`: the upgrade of a site with shadow virtual machines. */
export function farmCommand(): Command {
  return new Command("farm")
    .description("upgrade a site with shadow virtual machines")
    .addCommand(migrationCommand());
}

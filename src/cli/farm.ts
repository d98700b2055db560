import { Command } from "commander";
import { farmCheckCommand } from "./farm-check.ts";
import { farmCleanCommand } from "./farm-clean.ts";
import { farmDatabasesCommand } from "./farm-databases.ts";
import { migrationCommand } from "./farm-migration.ts";
import { farmPlanCommand } from "./farm-plan.ts";
import { farmRollbackCommand } from "./farm-rollback.ts";
import { farmProvisionCommand, farmResumeCommand, farmSwitchCommand } from "./farm-run.ts";
import { farmSchemaCommand } from "./farm-schema.ts";
import { farmStatusCommand } from "./farm-status.ts";

/** `doppel farm`: the upgrade of a site with shadow virtual machines. */
export function farmCommand(): Command {
  return new Command("farm")
    .description("upgrade a site with a shadow machine beside every box (docs/farm.md)")
    .addCommand(farmPlanCommand())
    .addCommand(farmProvisionCommand())
    .addCommand(farmCheckCommand())
    .addCommand(farmDatabasesCommand())
    .addCommand(farmSwitchCommand())
    .addCommand(farmRollbackCommand())
    .addCommand(farmCleanCommand())
    .addCommand(farmResumeCommand())
    .addCommand(farmStatusCommand())
    .addCommand(farmSchemaCommand())
    .addCommand(migrationCommand());
}

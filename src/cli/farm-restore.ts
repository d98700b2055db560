import { Command } from "commander";
import type { FarmDatabase } from "../farm/file/databases.ts";
import { lossesOf } from "../farm/steps/databases/losses.ts";
import { copyOf, lastRestore, requestRestore } from "../farm/steps/databases/restore.ts";
import type { RestoreRequest } from "../farm/steps/databases/restores.ts";
import { confirm } from "./confirm.ts";
import { lossesText } from "./farm-losses-text.ts";
import { type OpenFarm, openFarm } from "./farm-open.ts";
import { type RunFlags, runFarmFlow } from "./farm-run.ts";
import { interruptSignal } from "./interrupt.ts";

interface RestoreFlags extends RunFlags {
  copy?: string;
  yes?: boolean;
}

/** `doppel farm databases restore FARM.yaml DATABASE`. */
export function restoreCommand(): Command {
  return new Command("restore")
    .description("put a safety copy in the place of a live database; says first which writes that loses")
    .argument("<file>", "the farm file")
    .argument("<database>", "its name in the farm file")
    .option("--copy <path>", "of this safety copy instead of the newest")
    .option("--undo", "take the last restore back instead")
    .option("--yes", "do it without asking; needed where there is no terminal")
    .option("--dry-run", "say what would be done and lost, and touch nothing")
    .option("--json", "print the result as JSON")
    .action(restore);
}

async function restore(file: string, name: string, flags: RestoreFlags): Promise<void> {
  await using opened = await openFarm(file);
  if (flags.undo) return await undo(opened, name, flags);
  const { requests, losses } = await askForRestore(opened, [name], flags);
  await runFarmFlow(opened, "databases restore", { restore: requests }, flags, {
    more: async () => ({ losses }),
  });
}

async function undo(opened: OpenFarm, name: string, flags: RestoreFlags): Promise<void> {
  const database = opened.context.databases.find(name);
  const request = lastRestore(opened.context, database);
  const what = `what was written to ${name} since its restore is put aside`;
  process.stderr.write(`${what}\n${cutText([database])}`);
  if (!flags.yes && !flags.dryRun) await confirm(name, what, interruptSignal());
  await runFarmFlow(opened, "databases restore", { restore: [request], undo: true }, flags);
}

/** Says what a restore of these databases loses, and has it confirmed; `--dry-run` only says it. */
export async function askForRestore({ context }: OpenFarm, names: readonly string[], flags: RestoreFlags) {
  const databases = names.map((name) => context.databases.find(name));
  const requests: RestoreRequest[] = [];
  for (const database of databases) requests.push(await requestRestore(context, database, flags.copy));
  const losses = await Promise.all(
    databases.map((database) => lossesOf(context, database, copyOf(context, database.name, flags.copy))),
  );
  process.stderr.write(lossesText(losses) + cutText(databases));
  const all = names.join(", ");
  if (!flags.yes && !flags.dryRun)
    await confirm(names.length === 1 ? all : "restore", `restore ${all}`, interruptSignal());
  return { requests, losses };
}

/** What a restore and its undoing do to those who are connected; only PostgreSQL cuts them off. */
function cutText(databases: readonly FarmDatabase[]): string {
  return databases
    .filter(({ engine }) => engine === "postgres")
    .map(
      ({ name }) =>
        `${name}: its sessions end in that moment; whoever uses it, old machine or shadow, has to connect again\n`,
    )
    .join("");
}

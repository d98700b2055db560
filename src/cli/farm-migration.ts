import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import { EXIT } from "../errors.ts";
import { judgeMigration, type MigrationEngine } from "../farm/databases/migration.ts";
import { locksText, type MigrationVerdict, type StatementVerdict } from "../farm/databases/verdict.ts";
import { printJson } from "./output.ts";

/** `doppel farm migration`: which statements of a file two versions of an application can live with. */
export function migrationCommand(): Command {
  return new Command("migration")
    .description("say of each statement of a migration whether the old version can go on beside it")
    .argument("<file>", "the SQL file")
    .addOption(
      new Option("--engine <engine>", "whose SQL it is; mysql is MariaDB too")
        .choices(["postgres", "mysql"])
        .makeOptionMandatory(),
    )
    .option("--json", "print the result as JSON")
    .action(async (file: string, flags: { engine: MigrationEngine; json?: boolean }) => {
      const verdict = await judgeMigration(await readFile(file, "utf8"), flags.engine);
      if (flags.json) printJson(verdictForJson(verdict));
      else process.stdout.write(describe(file, verdict));
      if (verdict.refused > 0) process.exitCode = EXIT.refused;
    });
}

/** A program that reads the verdict has the file; the statements' whole text and how they are run stay out. */
export function verdictForJson({ engine, statements, refused }: MigrationVerdict) {
  return {
    engine,
    refused,
    statements: statements.map(({ line, statement, verdict, reason, locks, rewrites, alternative }) => ({
      line,
      statement,
      verdict,
      reason,
      locks,
      rewrites,
      alternative: alternative ?? null,
    })),
  };
}

function describe(file: string, { statements, refused }: MigrationVerdict): string {
  const total = statements.length === 1 ? "1 statement" : `${statements.length} statements`;
  const end =
    refused === 0 ? `${file}: ${total}, all additive` : `${file}: ${total}, ${refused} of them refused`;
  return `${statements.map((one) => describeStatement(file, one)).join("")}${end}\n`;
}

function describeStatement(file: string, one: StatementVerdict): string {
  const lines = [
    `${file}:${one.line}: ${one.verdict}: ${one.statement}`,
    `  ${one.reason}`,
    `  locks: ${locksText(one.locks)}${one.rewrites ? "; all rows are written again" : ""}`,
    ...(one.alternative === undefined ? [] : [`  instead: ${one.alternative}`]),
  ];
  return `${lines.join("\n")}\n`;
}

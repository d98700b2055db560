import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { farmCommand } from "../../../src/cli/farm.ts";
import { pullCommand } from "../../../src/cli/transfer.ts";
import { packageRoot } from "../../../src/package-root.ts";

const COMMANDS = [farmCommand(), pullCommand()];

function example(name: string): string {
  return readFileSync(join(packageRoot(), "docs/examples", name), "utf8");
}

/** The shell lines of the pipeline. */
function pipelineLines(): string[] {
  const { jobs } = parse(example("upgrade.yml")) as { jobs: Record<string, { steps: { run?: string }[] }> };
  return Object.values(jobs).flatMap(({ steps }) => steps.flatMap(({ run }) => run ?? []));
}

/** The words of each call of doppel in shell lines. */
function calls(lines: readonly string[]): string[][] {
  return lines.flatMap((line) => {
    const words = /(?:^|[\s{;])doppel (.*)$/.exec(line.replace(/^\s*#.*/, ""))?.[1];
    return words === undefined ? [] : [words.replace(/["{};]/g, "").split(/\s+/)];
  });
}

function commandOf(words: readonly string[]): Command | undefined {
  let command = COMMANDS.find((known) => known.name() === words[0]);
  for (const word of words.slice(1))
    command = command?.commands.find((known) => known.name() === word) ?? command;
  return command;
}

describe.each([
  ["upgrade.yml", pipelineLines()],
  ["upgrade.sh", example("upgrade.sh").split("\n")],
])("the example %s", (_, lines) => {
  it("goes the whole way", () => {
    const names = calls(lines).map((words) => (words[0] === "farm" ? words[1] : words[0]));
    const way = ["pull", "plan", "provision", "databases", "check", "switch", "clean"];
    expect(names.filter((name, at) => way.includes(name ?? "") && names.indexOf(name) === at)).toEqual(way);
  });

  it.each(calls(lines).map((words) => [words.join(" "), words] as const))(
    "uses what there is: %s",
    (_text, words) => {
      const command = commandOf(words);
      // A command that does something, and not the group that an unknown word was found in.
      expect(command?.commands).toEqual([]);
      const options = command?.options.map(({ long }) => long);
      for (const word of words.filter((word) => word.startsWith("--"))) expect(options).toContain(word);
    },
  );
});

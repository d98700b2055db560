import type { ChainReport } from "./journal/chain.ts";
import type { Evidence, JournalEntry } from "./journal/entry.ts";

/** The journal of a farm as Markdown: who did what when, with what result and on what evidence. */
export function auditMarkdown(farm: string, entries: readonly JournalEntry[], chain: ChainReport): string {
  const sound = chain.findings.length === 0;
  const lines = [
    `# Audit of the farm ${farm}`,
    "",
    `${chain.entries} entries; the newest has the hash \`${chain.head}\`. Kept elsewhere, it proves later that nothing`,
    "before it was changed (`doppel farm status FARM.yaml --verify --head HASH`).",
    "",
    sound ? "The chain of hashes is whole." : "**The chain of hashes is broken:**",
    ...chain.findings.map(({ sequence, message }) => `- entry ${sequence}: ${text(message)}`),
  ];
  for (const entry of entries) lines.push(...entryLines(entry));
  return `${lines.join("\n")}\n`;
}

function entryLines(entry: JournalEntry): string[] {
  const { event, time, owner } = entry;
  const at = `- ${time}`;
  switch (event.kind) {
    case "run-started":
      return [
        "",
        `## ${event.flow}, ${time}`,
        "",
        `By ${text(owner)} (fencing number ${entry.fencing}), file \`${event.file.digest}\`${event.resumes === null ? "" : `, going on with run ${event.resumes}`}.`,
        "",
      ];
    case "step-started":
      return [
        `${at} begins: ${text(event.title)}${event.direction === "do" ? `. Undo: ${text(event.undoes)}` : ""}.`,
      ];
    case "step-done":
      return [`${at} ${event.by === "probe" ? "was so already" : "done"}: ${text(event.title)}`];
    case "step-failed":
      return [`${at} **failed**: ${text(event.title)}: ${text(event.error.message)}`];
    case "gate":
      return [
        `${at} gate ${text(event.gate)} ${event.passed ? "open" : "**closed**"}: ${text(event.message)}`,
      ];
    case "run-ended":
      return [
        "",
        `Ended ${time}: **${event.outcome}**${event.error ? `: ${text(event.error.message)}` : ""}.`,
      ];
    case "lease-taken-over":
      return [
        "",
        `${time}: ${text(owner)} took over from ${text(event.owner)}, who acted since ${event.since}: ${event.why}.`,
      ];
    case "evidence":
      return evidenceTable(event.cells);
  }
}

function evidenceTable(cells: readonly Evidence[]): string[] {
  const rows = cells.map(({ kind, from, to, passed, message, latencyMs, time }) =>
    [
      kind,
      from,
      to,
      passed ? "passed" : "**failed**",
      latencyMs === null ? "" : `${latencyMs} ms`,
      message,
      time,
    ]
      .map(text)
      .join(" | "),
  );
  return [
    "",
    "| check | from | to | result | latency | seen | time |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...rows.map((row) => `| ${row} |`),
    "",
  ];
}

/** What other machines said may hold what Markdown takes for its own. */
function text(value: string): string {
  return value.replace(/\s+/g, " ").replace(/(?<!\*)([|<>`\\])/g, "\\$1");
}

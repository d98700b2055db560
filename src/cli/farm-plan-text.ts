import type { FarmPlan, PlannedFlow, PlannedStep } from "../farm/plan.ts";
import { table } from "./output.ts";

/** The text of `doppel farm plan`. */
export function planText(plan: FarmPlan): string {
  const lines = [`farm ${plan.farm}, ${plan.file.path}`];
  if (plan.fileChangedSince) {
    const { flow, started } = plan.fileChangedSince;
    lines.push(`the file has changed since '${flow}' of ${started}`);
  }
  return `${lines.join("\n")}\n${plan.flows.map((flow) => `\n${flowText(flow)}`).join("")}`;
}

/** What one command would do: its gates, its steps, and the undo of each. */
export function flowText({ name, direction, gates, stages }: PlannedFlow): string {
  const steps = stages.flatMap(({ lanes }) => lanes.flat());
  const todo = steps.filter(({ state }) => state !== "as it is").length;
  const lines = [
    `${direction === "undo" && name !== "rollback" ? `${name} --undo` : name}: ${todo} of ${steps.length} steps to do`,
  ];
  for (const { title, passed, message } of gates)
    lines.push(`  gate ${passed ? "open  " : "CLOSED"}  ${title}: ${message}`);
  const rows = steps.map((step) => [
    `  ${step.state}`,
    notes(step),
    direction === "do" ? `undo: ${step.undoes}` : "",
  ]);
  return `${lines.join("\n")}\n${rows.length > 0 ? table(rows) : ""}`;
}

function notes({ title, why, changed }: PlannedStep): string {
  const more = [
    ...(why === undefined ? [] : [why]),
    ...(changed.length > 0 ? [`changed: ${changed.join(", ")}`] : []),
  ];
  return more.length > 0 ? `${title} (${more.join("; ")})` : title;
}

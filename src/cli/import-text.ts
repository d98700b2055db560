import type { PreparedImport } from "../import/prepare.ts";
import { printable } from "../printable.ts";
import { describeDisks } from "./capture-text.ts";

/** What an import would take. */
export function importText({ plan, grade, files }: PreparedImport): string {
  const from = plan.disks.map(({ device }, index) => {
    const { name, format } = files[index] ?? { name: "?", format: "?" };
    return `${device} is ${printable(name)} (${format})\n`;
  });
  return `${from.join("")}${describeDisks(plan.disks)}consistency grade: ${grade}\n`;
}

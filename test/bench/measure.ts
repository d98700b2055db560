import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

export interface Measure {
  seconds: number;
  /** Processor time of the whole machine, all cores. */
  cpuSeconds: number;
  bytes: number;
}

/** Busy processor time of the machine since boot, in seconds (proc(5), /proc/stat). */
function busySeconds(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, soft = 0] = (
    readFileSync("/proc/stat", "latin1").split("\n")[0] ?? ""
  )
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + soft) / 100;
}

/** Measures work that returns the size of what it made. */
export function measure(work: () => number): Measure {
  execFileSync("sync");
  const cpu = busySeconds();
  const start = performance.now();
  const bytes = work();
  return { seconds: (performance.now() - start) / 1000, cpuSeconds: busySeconds() - cpu, bytes };
}

/** The value in the middle. */
export function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

export type Summary = ({ name: string } & Measure)[];

/** The medians of each contender's runs. */
export function summarise(results: ReadonlyMap<string, Measure[]>): Summary {
  return [...results].map(([name, measures]) => ({
    name,
    seconds: median(measures.map((one) => one.seconds)),
    cpuSeconds: median(measures.map((one) => one.cpuSeconds)),
    bytes: median(measures.map((one) => one.bytes)),
  }));
}

export function table(summary: Summary): string {
  const lines = summary.map(
    ({ name, seconds, cpuSeconds, bytes }) =>
      `${name.padEnd(44)} ${seconds.toFixed(1).padStart(7)} s  ${cpuSeconds.toFixed(1).padStart(7)} s cpu  ${bytes} bytes`,
  );
  return `${lines.join("\n")}\n`;
}

/** What is compared, the ratio, and the one to reach; ratios of what did not run are left out. */
export function ratioLines(ratios: readonly (readonly [string, number, number | null])[]): string {
  return ratios
    .filter(([, ratio]) => !Number.isNaN(ratio))
    .map(([what, ratio, target]) => {
      const goal = target === null ? "" : `  to reach: ${target}${ratio <= target ? "" : "  MISSED"}`;
      return `${what.padEnd(36)} ${ratio.toFixed(3)}${goal}\n`;
    })
    .join("");
}

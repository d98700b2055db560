import { type Options, SingleBar } from "cli-progress";
import { formatBytes, formatSeconds } from "../units.ts";

export interface ProgressUpdate {
  /** Bytes of the source that are dealt with, of `totalBytes`. */
  doneBytes: number;
  totalBytes: number;
  /** More to say, such as `sent 1.2 GiB at 80 MiB/s`. */
  note?: string;
}

export interface Progress {
  update(update: ProgressUpdate): void;
  /** A line of its own, above the bar where there is one. */
  log(line: string): void;
  stop(): void;
}

const LINE_EVERY_MS = 3000;

/** A bar on a terminal; one line every few seconds elsewhere. All of it on stderr, also of a `--json` run. */
export function createProgress(label: string): Progress {
  return process.stderr.isTTY ? barProgress(label) : lineProgress(label);
}

function barProgress(label: string): Progress {
  const started = performance.now();
  const settings: Options = {
    format: `${label} {bar} {percentage}% {done} {rate} {left} {note}`,
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  };
  const bar = new SingleBar(settings);
  let running = false;
  return {
    update(update) {
      const payload = describe(update, started);
      if (!running) bar.start(Math.max(update.totalBytes, 1), update.doneBytes, payload);
      else bar.update(update.doneBytes, payload);
      running = true;
    },
    log(line) {
      if (running) process.stderr.write("\r\u001b[2K");
      process.stderr.write(`${line}\n`);
    },
    stop() {
      if (running) bar.stop();
    },
  };
}

function lineProgress(label: string): Progress {
  const started = performance.now();
  let lastLine = started;
  return {
    update(update) {
      if (performance.now() - lastLine < LINE_EVERY_MS) return;
      lastLine = performance.now();
      const percent =
        update.totalBytes === 0 ? 100 : Math.floor((update.doneBytes / update.totalBytes) * 100);
      const { done, rate, left, note } = describe(update, started);
      process.stderr.write(`${label} ${percent}% ${done} ${rate} ${left} ${note}\n`);
    },
    log(line) {
      process.stderr.write(`${line}\n`);
    },
    stop() {},
  };
}

function describe(update: ProgressUpdate, startedMs: number) {
  const seconds = Math.max((performance.now() - startedMs) / 1000, 0.001);
  const bytesPerSecond = update.doneBytes / seconds;
  const leftSeconds = bytesPerSecond > 0 ? (update.totalBytes - update.doneBytes) / bytesPerSecond : 0;
  return {
    done: `${formatBytes(update.doneBytes)} of ${formatBytes(update.totalBytes)}`,
    rate: `${formatBytes(bytesPerSecond)}/s`,
    left: seconds < 1 ? "" : `${formatSeconds(Math.max(leftSeconds, 0))} left`,
    note: update.note ?? "",
  };
}

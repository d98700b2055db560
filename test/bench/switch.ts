import { parseArgs } from "node:util";
import { Haproxy, SITE } from "../../fixtures/farm/haproxy.ts";
import { epochMs, Users, WebServer } from "../../fixtures/farm/web.ts";
import { AFTER_SWITCH, BEFORE_SWITCH, changeRouting, openRouter } from "../../src/farm/routers/index.ts";

// How long a switch takes, there and back, while users send requests: from the command to the first whole response of
// the other version, and to the moment when it is verified and durable.
const { values: flags } = parseArgs({
  options: {
    switches: { type: "string", default: "100" },
    users: { type: "string", default: "8" },
    json: { type: "boolean", default: false },
  },
});

await using old = await WebServer.start("1");
await using fresh = await WebServer.start("2");
await using haproxy = await Haproxy.start({ old: [old.port], new: [fresh.port] });
await using router = await openRouter(haproxy.config, SITE);
await using users = new Users(haproxy.port, SITE.live, Number(flags.users));
await users.more(1000);

const firstMs: number[] = [];
const wholeMs: number[] = [];
let [from, to] = [BEFORE_SWITCH, AFTER_SWITCH];
for (let at = 0; at < Number(flags.switches); at++) {
  await users.report();
  const startedMs = epochMs();
  await changeRouting([router], { from, to });
  wholeMs.push(epochMs() - startedMs);
  firstMs.push((await firstResponse(to.live === "new" ? "2" : "1")) - startedMs);
  [from, to] = [to, from];
}

/** When the first response of a version had come, since the last report. */
async function firstResponse(version: string): Promise<number> {
  while (true) {
    const seen = (await users.report()).versions[version];
    if (seen) return seen.firstEndedMs;
  }
}

const { requests, failed, mixed } = await users.report();

const percentile = (values: number[], share: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ??
  Number.NaN;
const figures = {
  switches: firstMs.length,
  requests,
  failed,
  mixed,
  firstResponseMs: {
    median: percentile(firstMs, 0.5),
    p95: percentile(firstMs, 0.95),
    most: Math.max(...firstMs),
  },
  verifiedMs: {
    median: percentile(wholeMs, 0.5),
    p95: percentile(wholeMs, 0.95),
    most: Math.max(...wholeMs),
  },
};
if (flags.json) process.stdout.write(`${JSON.stringify(figures, undefined, 2)}\n`);
else {
  const line = ({ median, p95, most }: { median: number; p95: number; most: number }) =>
    `median ${median.toFixed(1)} ms, 95 % ${p95.toFixed(1)} ms, most ${most.toFixed(1)} ms`;
  process.stdout.write(
    `command to the first response of the other version: ${line(figures.firstResponseMs)}\n`,
  );
  process.stdout.write(`command to verified and durable: ${line(figures.verifiedMs)}\n`);
  process.stdout.write(
    `${requests} requests, ${failed} failed, ${mixed} mixed; ${firstMs.length} switches\n`,
  );
}

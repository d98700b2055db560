import type { FarmContext } from "../context.ts";
import { mapBounded } from "../engine/bounded.ts";
import type { FarmCheck } from "../file/checks.ts";
import type { FarmDatabase, SqlDatabase } from "../file/databases.ts";
import type { Evidence } from "../journal/entry.ts";
import { runRemote } from "../machines/remote.ts";
import type { Shadow } from "../machines/shadow.ts";
import { type Cell, expectedCells, OUTSIDE } from "./cells.ts";
import { fromInside, fromOutside } from "./dial.ts";
import { judgeRow } from "./judge.ts";
import { checkShadow, reaches } from "./machine-checks.ts";
import { looked, type Outcome } from "./outcome.ts";
import { checkCertificate, checkSite, reachShadows } from "./outside.ts";
import { askDatabase } from "./sql.ts";

/** Of the matrix itself; the file's own checks have theirs. */
const CELL_MS = 15_000;

/** Looks at every cell of the farm, or at those that are named, several at once. A cell without a result is a failed one. */
export async function runMatrix(
  context: FarmContext,
  signal: AbortSignal,
  cells: readonly Cell[] = expectedCells(context.farm.spec),
): Promise<Evidence[]> {
  const { spec } = context.farm;
  const shadows = reachShadows(context, CELL_MS, signal);
  shadows.catch(() => {});
  await logIn(context, cells, signal);
  return await mapBounded(cells, spec.parallel, async (cell) => {
    const outcome = await lookAt(cell, context, shadows, signal);
    return { ...cell, ...outcome, time: new Date().toISOString() };
  });
}

/** What a cell takes is not how long the login to the machine takes that it looks from. One that cannot be reached fails its cells. */
async function logIn(context: FarmContext, cells: readonly Cell[], signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CELL_MS)]);
  const from = new Set(cells.filter((cell) => cell.from !== OUTSIDE).map((cell) => cell.from));
  await Promise.allSettled([...from].map((box) => context.machines.shadow(box).connect(limit)));
  signal.throwIfAborted();
}

async function lookAt(
  cell: Cell,
  context: FarmContext,
  shadows: Promise<Map<string, Outcome>>,
  signal: AbortSignal,
): Promise<Outcome> {
  const { spec } = context.farm;
  const missing = { passed: false, message: "nothing was found out", latencyMs: null };
  if (cell.kind === "outside") return (await shadows).get(cell.to) ?? missing;
  if (cell.kind === "machine") {
    const to = context.machines.shadow(cell.to);
    return await looked(CELL_MS, signal, async (limit) =>
      reaches(context.machines.shadow(cell.from), await to.requireAddress(), to.servicePort, limit),
    );
  }
  if (cell.kind === "database") {
    const database = spec.databases.find(({ name }) => name === cell.to);
    if (!database) return missing;
    return await looked(CELL_MS, signal, (limit) =>
      seesDatabase(context, context.machines.shadow(cell.from), database, limit),
    );
  }
  const check = spec.checks.find(({ name }) => name === cell.to);
  return check ? await ownCheck(check, cell.from, context, signal) : missing;
}

async function ownCheck(
  check: FarmCheck,
  from: string,
  context: FarmContext,
  signal: AbortSignal,
): Promise<Outcome> {
  if (check.kind === "tls") return await checkCertificate(context, check, signal);
  if (check.kind === "http" && check.via === "site")
    return await checkSite(context, context.farm.spec.sites.shadow, check, signal);
  if (check.kind === "sql") return await checkSql(check, context, context.machines.shadow(from), signal);
  if (check.kind === "tcp" && check.from === "outside") return await checkPort(check, from, context, signal);
  return await checkShadow(check, context.machines.shadow(from), signal);
}

async function checkPort(
  check: Extract<FarmCheck, { kind: "tcp" }>,
  to: string,
  context: FarmContext,
  signal: AbortSignal,
): Promise<Outcome> {
  return await looked(check.timeout, signal, async (limit) => {
    const host = check.host ?? (await context.machines.shadow(to).requireAddress());
    (await fromOutside(host, check.port, limit)).destroy();
    return { passed: true, message: `connected to ${host} port ${check.port}` };
  });
}

async function seesDatabase(
  context: FarmContext,
  shadow: Shadow,
  database: FarmDatabase,
  signal: AbortSignal,
) {
  if (database.engine === "commands") {
    const { code } = await runRemote(await shadow.connect(signal), database.commands.check, CELL_MS, signal);
    return { passed: code === 0, message: `its check ended with ${code}` };
  }
  await query(context, shadow, database, database.query, signal);
  return { passed: true, message: "logged in, and the query was answered" };
}

async function checkSql(
  check: Extract<FarmCheck, { kind: "sql" }>,
  context: FarmContext,
  shadow: Shadow,
  signal: AbortSignal,
): Promise<Outcome> {
  return await looked(check.timeout, signal, async (limit) => {
    const database = context.farm.spec.databases.find(({ name }) => name === check.database);
    if (!database || database.engine === "commands")
      return { passed: false, message: `${check.database} is reached by commands, not by SQL` };
    return judgeRow(await query(context, shadow, database, check.query, limit), check.equals);
  });
}

/** As the application would: from inside the shadow, with the application's login. */
async function query(
  context: FarmContext,
  shadow: Shadow,
  database: SqlDatabase,
  sql: string,
  signal: AbortSignal,
) {
  const address = await context.databases.application(database);
  return await askDatabase(fromInside(shadow), address, sql, signal);
}

import { refused } from "../failure.ts";
import type { SideCounters } from "../router.ts";
import type { StatRow } from "./answers.ts";

/** A backend's row among those of `show stat`. Refuses a name that HAProxy does not have (`router-backend-missing`). */
export function backendRow(router: string, rows: readonly StatRow[], backend: string): StatRow {
  const row = rows.find((one) => one.get("pxname") === backend && one.get("svname") === "BACKEND");
  if (row !== undefined) return row;
  throw refused(
    router,
    "router-backend-missing",
    `HAProxy has no backend ${backend}`,
    "write the backend into haproxy.cfg, or correct the name in the farm file",
  );
}

/** A backend's counters (management guide, 9.1). Its mean is of the latest 1,024 requests. */
export function backendCounters(row: StatRow): SideCounters {
  const number = (column: string) => Number(row.get(column) || 0);
  return {
    requests: number("req_tot") || number("stot"),
    errors: number("hrsp_5xx") + number("srv_abrt"),
    clientErrors: number("hrsp_4xx"),
    responseMs: number("rtime"),
    inFlight: number("scur"),
    serversUp: number("act") + number("bck"),
  };
}

/** Refuses to lead users to a backend without a server that is up (`router-backend-down`). */
export function expectServers(router: string, row: StatRow): void {
  if (row.get("status") === "UP" && backendCounters(row).serversUp !== 0) return;
  throw refused(
    router,
    "router-backend-down",
    `no server of the backend ${row.get("pxname")} is up`,
    "start its machines, and look at HAProxy's health checks",
  );
}

import type { Site } from "../routing.ts";
import type { HaproxyConfig } from "./config.ts";

/** The cookie that keeps a client on its side while a canary runs. */
export const BUCKET_COOKIE = "doppel_bucket";

/**
 * The lines of the site's frontend.
 *
 * A client's bucket (0 to 99) is its cookie's, or else a hash of its address: it stays the same from request to
 * request, and growing the canary keeps those who are in it.
 */
export function frontendLines({ map }: Pick<HaproxyConfig, "map">): string[] {
  return [
    "http-request set-var(txn.site) req.hdr(host),field(1,:),lower",
    `http-request set-var(txn.site_backend) var(txn.site),map_str(${map})`,
    `http-request set-var(txn.canary) str(canary/),concat(,txn.site),map_str(${map})`,
    "http-request set-var(txn.canary_percent) var(txn.canary),field(1,:)",
    `http-request set-var(txn.has_bucket) bool(true) if { req.cook(${BUCKET_COOKIE}) -m found }`,
    "http-request set-var(txn.bucket) src,xxh32,mod(100)",
    `http-request set-var(txn.bucket) req.cook_val(${BUCKET_COOKIE}) if { var(txn.has_bucket) -m bool }`,
    "http-request set-var(txn.site_backend) var(txn.canary),field(2,:) if { var(txn.canary) -m found } { var(txn.bucket),sub(txn.canary_percent) lt 0 }",
    `http-response add-header set-cookie "${BUCKET_COOKIE}=%[var(txn.bucket)]; Path=/; HttpOnly; SameSite=Lax" if { var(txn.canary) -m found } !{ var(txn.has_bucket) -m bool }`,
    "use_backend %[var(txn.site_backend)] if { var(txn.site_backend) -m found }",
  ];
}

/** What haproxy.cfg must have, and the map's first content. */
export function haproxySnippet(config: HaproxyConfig, site: Site): string {
  const { map, backends } = config;
  const lines = [
    "# in the section global",
    `    stats socket ${config.socket} mode 600 level admin expose-fd listeners`,
    "    # a reload closes idle connections over this time instead of at once, when a request may be on its way",
    "    close-spread-time 5s",
    "",
    "# in the frontend of the site",
    ...frontendLines(config).map((line) => `    ${line}`),
    "",
    "# a server has the same name and cookie in both backends: a client stays on its box",
    ...[backends.old, backends.new].flatMap((backend) => [
      `backend ${backend}`,
      "    cookie doppel_box insert indirect nocache httponly",
      "    option httpchk GET /",
      "    server box1 ADDRESS:PORT check cookie box1",
    ]),
    "",
    `# ${config.mapFile ?? map}, at first`,
    `#   ${site.live} ${backends.old}`,
    `#   ${site.shadow} ${backends.new}`,
  ];
  return `${lines.join("\n")}\n`;
}

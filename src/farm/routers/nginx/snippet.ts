import { join } from "node:path";
import type { Site } from "../routing.ts";
import { LOG_FORMAT } from "./access-log.ts";
import type { NginxConfig } from "./config.ts";
import { CURRENT } from "./host.ts";
import { CANARY, LIVE_NEW, SHADOW_OLD } from "./switch-folder.ts";

/** Tells which upstream a request would be led to. */
export const SIDE_PATH = "/.doppel/side";
export const BUCKET_COOKIE = "doppel_bucket";

/** The lines of the section http: the log's format, and the bucket (0 to 99) of a client, by its cookie or its address. */
export function httpLines({ log }: Pick<NginxConfig, "log">): string[] {
  const shares = Array.from({ length: 99 }, (_, bucket) => `1% ${bucket};`);
  return [
    ...(log === undefined ? [] : [`log_format doppel '${LOG_FORMAT}';`]),
    `split_clients $remote_addr $doppel_hash { ${shares.join(" ")} * 99; }`,
    `map $cookie_${BUCKET_COOKIE} $doppel_bucket { default $doppel_hash; "~^[0-9][0-9]?$" $cookie_${BUCKET_COOKIE}; }`,
  ];
}

/** The lines of the server of the live address, beside `proxy_pass http://$doppel_side;`. */
export function liveLines({ folder, backends, log }: NginxConfig): string[] {
  const current = join(folder, CURRENT);
  return [
    `set $doppel_side ${backends.old};`,
    `set $doppel_cookie "";`,
    `if (-f ${current}/${CANARY}/0) { set $doppel_cookie "${BUCKET_COOKIE}=$doppel_bucket; Path=/; HttpOnly; SameSite=Lax"; }`,
    `if (-f ${current}/${CANARY}/$doppel_bucket) { set $doppel_side ${backends.new}; }`,
    `if (-f ${current}/${LIVE_NEW}) { set $doppel_side ${backends.new}; }`,
    "add_header Set-Cookie $doppel_cookie;",
    ...serverLines(log),
  ];
}

/** The lines of the server of the shadow address. */
export function shadowLines({ folder, backends, log }: NginxConfig): string[] {
  return [
    `set $doppel_side ${backends.new};`,
    `if (-f ${join(folder, CURRENT)}/${SHADOW_OLD}) { set $doppel_side ${backends.old}; }`,
    ...serverLines(log),
  ];
}

function serverLines(log: string | undefined): string[] {
  return [
    `location = ${SIDE_PATH} { access_log off; default_type text/plain; return 200 $doppel_side; }`,
    ...(log === undefined ? [] : [`access_log ${log} doppel;`]),
  ];
}

/** What nginx.conf must have. */
export function nginxSnippet(config: NginxConfig, site: Site): string {
  const server = (name: string, lines: string[]) => [
    "server {",
    `    server_name ${name};`,
    ...lines.map((line) => `    ${line}`),
    "    location / {",
    "        proxy_pass http://$doppel_side;",
    "        proxy_http_version 1.1;",
    "        proxy_set_header Host $host;",
    "    }",
    "}",
  ];
  const lines = [
    "# in the section http; with `open_file_cache off`, which is the default",
    ...httpLines(config),
    ...[config.backends.old, config.backends.new].map(
      (name) => `upstream ${name} { server ADDRESS:PORT; keepalive 32; }`,
    ),
    ...server(site.live, liveLines(config)),
    ...server(site.shadow, shadowLines(config)),
  ];
  return `${lines.join("\n")}\n`;
}

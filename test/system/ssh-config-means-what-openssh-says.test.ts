import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Sshd } from "../../fixtures/sshd.ts";
import { resolveHost } from "../../src/ssh/user-config.ts";

// `ssh -G` prints what OpenSSH makes of a configuration; it takes ~ from the password file.
const home = userInfo().homedir;

const CONFIG = `
Host web-* !web-9
  HostName %h.example.com
  Port = 2201
  User deploy
  IdentityFile ~/.ssh/web_%r
  HostKeyAlias web
Host "db one" db?
  User "dba"
  ProxyJump gate@jump:2202,second
  UserKnownHostsFile ~/.ssh/kh_a ~/.ssh/kh_b
  IdentitiesOnly yes
Match originalhost web-2,db1 user deploy,dba
  ConnectTimeout 7
  IdentityFile %d/.ssh/matched_%p
Match host *.example.com
  ServerAliveInterval 11
Match all
  Port 2299
Host *
  User nobody-else
  ServerAliveInterval 12
  ServerAliveCountMax 5
  ConnectTimeout 9
  IdentityFile ~/.ssh/last
  GlobalKnownHostsFile /etc/ssh/kh
`;

function openSsh(file: string, target: string): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (const line of execFileSync("ssh", ["-F", file, "-G", target], { encoding: "utf8" })
    .trim()
    .split("\n")) {
    const space = line.indexOf(" ");
    const name = line.slice(0, space);
    values.set(name, [...(values.get(name) ?? []), line.slice(space + 1)]);
  }
  return values;
}

test
  .skipIf(!Sshd.available() && !process.env.CI)
  .each(["web-1", "web-2", "web-9", "db1", "db22", "elsewhere"])("%s", (host) => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-ssh-g-"));
  const configFile = join(folder, "config");
  writeFileSync(configFile, CONFIG);
  const theirs = openSsh(configFile, host);
  const ours = resolveHost({ host }, { home, configFile });
  rmSync(folder, { recursive: true });
  const one = (name: string) => theirs.get(name)?.[0];
  expect({
    hostname: ours.hostname,
    port: String(ours.port),
    user: ours.user,
    hostkeyalias: ours.hostKeyAlias,
    proxyjump:
      ours.proxyJump
        .map(({ user, host: hop, port }) => `${user ? `${user}@` : ""}${hop}${port ? `:${port}` : ""}`)
        .join(",") || undefined,
    connecttimeout: String(ours.connectTimeoutMs / 1000),
    serveraliveinterval: String(ours.keepaliveIntervalMs / 1000),
    serveralivecountmax: String(ours.keepaliveCountMax),
    identitiesonly: ours.identitiesOnly ? "yes" : "no",
    knownHosts: ours.knownHostsFiles,
    identityFiles: ours.identityFiles,
  }).toEqual({
    ...Object.fromEntries(
      ["hostname", "port", "user", "hostkeyalias", "proxyjump", "connecttimeout"].map((name) => [
        name,
        one(name),
      ]),
    ),
    ...Object.fromEntries(
      ["serveraliveinterval", "serveralivecountmax", "identitiesonly"].map((name) => [name, one(name)]),
    ),
    knownHosts: [one("userknownhostsfile"), one("globalknownhostsfile")]
      .flatMap((files) => files?.split(" ") ?? [])
      .map(expand),
    // OpenSSH expands tokens of identity files only when it opens them.
    identityFiles: theirs.get("identityfile")?.map((file) =>
      expand(file)
        .replace("%d", home)
        .replace("%r", one("user") ?? "")
        .replace("%p", one("port") ?? ""),
    ),
  });
});

function expand(file: string): string {
  return file.replace(/^~/, home);
}

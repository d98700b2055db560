import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { routeTo } from "../../../src/ssh/connect.ts";
import { parseTarget } from "../../../src/ssh/target.ts";
import { type HostSettings, resolveHost } from "../../../src/ssh/user-config.ts";

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "doppel-ssh-config-"));
  mkdirSync(join(home, ".ssh"));
});

afterEach(() => {
  rmSync(home, { recursive: true });
});

function write(text: string, name = "config"): string {
  const file = join(home, ".ssh", name);
  writeFileSync(file, text);
  return file;
}

function resolve(target: string, config: string): HostSettings {
  return resolveHost(parseTarget(target), { home, configFile: write(config) });
}

describe("what a configuration says", () => {
  test("nothing: OpenSSH's defaults, and keepalives", () => {
    expect(resolve("me@box", "")).toMatchObject({
      ...{
        name: "box",
        hostname: "box",
        port: 22,
        user: "me",
        identitiesOnly: false,
        identitiesGiven: false,
      },
      ...{ proxyJump: [], keepaliveIntervalMs: 15_000, keepaliveCountMax: 3, connectTimeoutMs: 15_000 },
      identityFiles: ["id_ed25519", "id_ecdsa", "id_rsa"].map((name) => join(home, ".ssh", name)),
      knownHostsFiles: [
        ...["known_hosts", "known_hosts2"].map((name) => join(home, ".ssh", name)),
        ...["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"],
      ],
    });
  });

  test("the first value of an option counts, whatever the case of its name; the target's own words win", () => {
    const config = 'Host b?x !bax\n hostname=10.0.0.1\n PORT 2222\nHost *\n Port 1\n User "some one" # who\n';
    expect(resolve("box", config)).toMatchObject({ hostname: "10.0.0.1", port: 2222, user: "some one" });
    expect(resolve("bax", config)).toMatchObject({ hostname: "bax", port: 1 });
    expect(resolve("me@box:7", config)).toMatchObject({ hostname: "10.0.0.1", port: 7, user: "me" });
  });

  test("identity files gather, with ~ and tokens", () => {
    const config =
      "Host box\n HostName %h.example\n IdentityFile ~/.ssh/%r@%h:%p\n IdentitiesOnly yes\nHost *\n IdentityFile %d/all-%n-%%\n";
    expect(resolve("me@box", config)).toMatchObject({
      hostname: "box.example",
      identityFiles: [join(home, ".ssh/me@box.example:22"), join(home, "all-box-%")],
      ...{ identitiesGiven: true, identitiesOnly: true },
    });
    expect(resolve("box", "IdentityFile none\n").identityFiles).toEqual([]);
  });

  test("known hosts files, alias, agent and times", () => {
    const config = `UserKnownHostsFile "~/a b" /c\nGlobalKnownHostsFile none\nHostKeyAlias lab\nIdentityAgent ~/agent
      ServerAliveInterval 5\nServerAliveCountMax 9\nConnectTimeout 3\n`;
    expect(resolve("box", config)).toMatchObject({
      ...{
        knownHostsFiles: [join(home, "a b"), "/c"],
        hostKeyAlias: "lab",
        identityAgent: join(home, "agent"),
      },
      ...{ keepaliveIntervalMs: 5000, keepaliveCountMax: 9, connectTimeoutMs: 3000 },
    });
  });

  test("Match all, host, originalhost, user; what would run a program does not match", () => {
    const config = `Host box\n HostName real.example\nMatch host *.example user root\n Port 1\n
      Match originalhost box\n Port 2\nMatch exec "touch ${home}/ran"\n Port 3\nMatch all\n Port 4\n`;
    expect(resolve("root@box", config).port).toBe(1);
    expect(resolve("me@box", config).port).toBe(2);
    expect(resolve("me@fox", config).port).toBe(4);
  });

  test("Include, also within a Host block, relative and with a star", () => {
    mkdirSync(join(home, ".ssh/conf.d"));
    write("Host box\n Port 2\nHost other\n Port 3\n", "conf.d/b.conf");
    write("User from-include\n", "conf.d/a.conf");
    const config = "Include conf.d/*.conf missing\nHost *\n Port 9\n User late\n";
    expect(resolve("box", config)).toMatchObject({ port: 2, user: "from-include" });
    const scoped = "Host inner\n Include conf.d/*.conf\nHost *\n Port 9\n User late\n";
    expect(resolve("box", scoped)).toMatchObject({ port: 9, user: "late" });
  });

  test.each([
    ["an unended quote", 'Host "box\n'],
    ["Host without a pattern", "User me\nHost"],
    ["an Include of itself", "Include config\n"],
  ])("%s is refused with the file's name", (_, config) => {
    expect(() => resolve("box", config)).toThrow(
      expect.objectContaining({ code: "ssh-config-invalid", message: expect.stringContaining(home) }),
    );
  });

  test("a ProxyCommand is refused, unless it is none or a ProxyJump comes first", () => {
    expect(() => resolve("box", "ProxyCommand nc %h %p\n")).toThrow(
      expect.objectContaining({ code: "ssh-proxy-command", exitCode: 3 }),
    );
    expect(resolve("box", "ProxyCommand none\n").hostname).toBe("box");
    expect(resolve("box", "ProxyJump j\nProxyCommand nc\n").proxyJump).toEqual([{ host: "j" }]);
  });
});

describe("the route to a host", () => {
  const route = (target: string, config: string) =>
    routeTo(parseTarget(target), { home, configFile: write(config) }).map(
      ({ user, hostname, port }) => `${user}@${hostname}:${port}`,
    );

  test("passes jump hosts in order, each with its own settings, the first one by its own route", () => {
    const config =
      "Host box\n ProxyJump a@one:1,two\nHost two\n HostName 2.example\n ProxyJump unused\nHost one\n ProxyJump zero\nHost *\n User u\n";
    expect(route("box", config)).toEqual(["u@zero:22", "a@one:1", "u@2.example:22", "u@box:22"]);
  });

  test("ProxyJump none means none", () => {
    expect(route("u@box", "Host box\n ProxyJump none\nHost *\n ProxyJump j\n")).toEqual(["u@box:22"]);
  });

  test("a jump host that leads back to itself is refused", () => {
    expect(() => route("box", "Host *\n ProxyJump j\n")).toThrow(
      expect.objectContaining({ code: "ssh-config-invalid" }),
    );
  });
});

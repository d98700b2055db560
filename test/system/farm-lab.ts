import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { stringify } from "yaml";
import { Sshd } from "../../fixtures/sshd.ts";
import { Doppel } from "./doppel.ts";

export interface Box {
  name: string;
  sshd: Sshd;
  /** What the machine would keep for itself: all of them are this one. */
  folder: string;
}

/** A farm whose shadows are there already: each an sshd of its own on this machine. */
export class FarmLab implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "doppel-farm-"));
  /** Unique: shadows keep what ran in them by the farm's name. */
  readonly name = basename(this.folder);
  readonly doppel = new Doppel();
  readonly boxes: Box[] = [];

  static async start(...names: string[]): Promise<FarmLab> {
    const lab = new FarmLab();
    for (const name of names)
      lab.boxes.push({ name, sshd: await Sshd.start(), folder: mkdtempSync(join(lab.folder, `${name}-`)) });
    return lab;
  }

  box(name: string): Box {
    const found = this.boxes.find((box) => box.name === name);
    if (!found) throw new Error(`no box ${name}`);
    return found;
  }

  get file(): string {
    return join(this.folder, "farm.yaml");
  }

  /** The path of a file beside the farm file. */
  at(name: string): string {
    return join(this.folder, name);
  }

  /** Writes a file beside the farm file. */
  write(name: string, content: string): void {
    writeFileSync(this.at(name), content);
  }

  /** Writes ssh_config beside the farm file, by which `host` is the machine of a box. */
  writeSshConfig(host: string, box: string): void {
    const { port, user, userKey, knownHosts } = this.box(box).sshd;
    const login = [`Port ${port}`, `User ${user}`, `IdentityFile ${userKey}`];
    const lines = [`Host ${host}`, "HostName 127.0.0.1", ...login, `UserKnownHostsFile ${knownHosts}`];
    this.write("ssh_config", `${lines.join("\n")}\n`);
  }

  /** Writes farm.yaml: the boxes, and what a test adds or replaces. */
  describe(more: Record<string, unknown> = {}): void {
    const farm = {
      version: 1,
      name: this.name,
      sites: { live: { url: "http://shop.test" }, shadow: { url: "http://next.shop.test" } },
      routers: [{ kind: "command", name: "edge", command: ["/bin/true"] }],
      boxes: this.boxes.map(({ name, sshd }) => ({
        kind: "existing",
        name,
        shadow: { address: "127.0.0.1", ssh: sshSettings(sshd) },
      })),
      ...more,
    };
    writeFileSync(this.file, stringify(farm));
  }

  run(command: string, ...words: string[]) {
    return this.doppel.run("farm", command, this.file, ...words);
  }

  async json(command: string, ...words: string[]) {
    return await this.doppel.json("farm", command, this.file, ...words);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { sshd } of this.boxes) await sshd[Symbol.asyncDispose]();
    this.doppel[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
    rmSync(join("/var/lib/doppel", this.name), { recursive: true, force: true });
  }
}

/** What a router's shadow address does: one shadow after the other answers. */
export async function startSite(boxes: () => string[]): Promise<Server> {
  let requests = 0;
  const server = createServer((request, response) => {
    const names = boxes();
    response.setHeader("X-Box", names[requests++ % names.length] ?? "");
    response.statusCode = request.url === "/missing" ? 404 : 200;
    response.end("the new shop");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

export function sshSettings(sshd: Sshd) {
  const [type, key] = readFileSync(`${sshd.hostKey}.pub`, "utf8").split(" ");
  return {
    port: sshd.port,
    user: sshd.user,
    identity: sshd.userKey,
    config: "/dev/null",
    hostKey: `${type} ${key}`,
  };
}

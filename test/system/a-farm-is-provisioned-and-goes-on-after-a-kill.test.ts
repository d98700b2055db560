import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { possible, runCommand } from "./doppel.ts";
import { FarmLab } from "./farm-lab.ts";

interface Plan {
  flows: { name: string; stages: { lanes: { id: string; state: string; changed: string[] }[][] }[] }[];
}

describe.skipIf(!possible)("a farm whose shadows are there already", () => {
  let lab: FarmLab;

  beforeEach(async () => {
    lab = await FarmLab.start("web1", "web2");
    lab.write("app.conf", "version = 2\n");
    lab.write("install.sh", `#!/bin/sh\necho ran >> ${lab.folder}/installed\n`);
  });

  afterEach(async () => {
    await lab[Symbol.asyncDispose]();
  });

  const lines = (name: string) => {
    const path = join(lab.folder, name);
    return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
  };
  const states = ({ flows }: Plan) =>
    flows
      .find(({ name }) => name === "provision")
      ?.stages.flatMap(({ lanes }) => lanes.flat().map(({ state }) => state));

  it("is planned without being touched, provisioned once, and found as it is afterwards", async () => {
    lab.describe({
      off: [
        {
          name: "scheduler",
          off: ["rm", "-f", join(lab.folder, "scheduler-runs")],
          on: ["touch", join(lab.folder, "scheduler-runs")],
          probe: ["test", "-e", join(lab.folder, "scheduler-runs")],
        },
      ],
      provision: {
        steps: [
          { kind: "file", from: "app.conf", to: join(lab.folder, "etc/app.conf"), mode: "0640" },
          { kind: "script", from: "install.sh" },
          // What an installation may do: start what must stay off.
          { kind: "command", run: ["touch", join(lab.folder, "scheduler-runs")] },
        ],
        ready: [
          {
            kind: "command",
            name: "configured",
            run: ["cat", join(lab.folder, "etc/app.conf")],
            contains: "version = 2",
          },
        ],
      },
    });
    writeFileSync(join(lab.folder, "scheduler-runs"), "");
    const before = (await lab.json("plan")) as unknown as Plan;
    expect(states(before)).toEqual([
      "as it is",
      "to do",
      ...Array(5).fill("later"),
      "as it is",
      "to do",
      ...Array(5).fill("later"),
    ]);
    expect(lines("installed")).toEqual([]);
    expect(existsSync(join(lab.folder, "scheduler-runs"))).toBe(true);

    expect(await lab.json("provision")).toMatchObject({
      flow: "provision",
      steps: expect.arrayContaining([]),
    });
    expect(readFileSync(join(lab.folder, "etc/app.conf"), "utf8")).toBe("version = 2\n");
    expect(lines("installed")).toEqual(["ran", "ran"]);
    expect(existsSync(join(lab.folder, "scheduler-runs"))).toBe(false);

    const again = await lab.run("provision");
    expect(again.code).toBe(0);
    expect(again.stderr).not.toContain("started:");
    expect(lines("installed")).toHaveLength(2);
    expect(states((await lab.json("plan")) as unknown as Plan)).toEqual(Array(14).fill("as it is"));

    // What has changed since is named, and done.
    lab.write("app.conf", "version = 2\nmode = new\n");
    const changed = (await lab.json("plan")) as unknown as Plan;
    expect(changed.flows[0]?.stages[0]?.lanes[0]?.[2]).toMatchObject({
      state: "to finish",
      changed: ["sha256"],
    });
  });

  it("goes on after its process was killed within a step, and repeats nothing that was done", async () => {
    // The first box's script blocks on a pipe; the second box's is done when the command is killed.
    const gate = join(lab.folder, "gate");
    await runCommand("mkfifo", [gate]);
    lab.write(
      "slow.sh",
      `#!/bin/sh\necho begun >> ${lab.folder}/slow\nread line < ${gate}\necho ended >> ${lab.folder}/slow\n`,
    );
    lab.describe({
      parallel: 1,
      provision: {
        steps: [
          { kind: "script", from: "install.sh" },
          { kind: "script", from: "slow.sh" },
        ],
      },
    });
    const killed = lab.doppel.start("farm", "provision", lab.file);
    await expect.poll(() => lines("slow"), { timeout: 60_000 }).toEqual(["begun"]);
    const busy = await lab.run("provision");
    expect(busy).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/process \d+ has acted on .* since 2/),
    });
    const child = await runCommand("pgrep", ["-f", `farm provision ${lab.file}`]);
    for (const pid of child.stdout.split("\n").filter(Boolean)) process.kill(Number(pid), "SIGKILL");
    await killed.ended;
    expect((await lab.run("status")).stdout).toMatch(/last: provision, .*, was cut off/);

    const resumed = lab.run("resume");
    // Each reader of the pipe gets its line: what the killed command began may read one, too.
    await expect
      .poll(() => lines("slow").filter((line) => line === "begun").length, { timeout: 60_000 })
      .toBe(2);
    const writer = setInterval(() => void runCommand("timeout", ["1", "sh", "-c", `echo go > ${gate}`]), 200);
    try {
      expect(await resumed).toMatchObject({ code: 0 });
    } finally {
      clearInterval(writer);
    }
    expect(lines("installed")).toEqual(["ran", "ran"]);
    expect(await lab.json("resume")).toMatchObject({ run: null });
    expect((await lab.run("status", "--verify")).stdout).toContain("is whole");
  });

  it("stops where a script fails, leaves the rest as it is, and goes on when that is mended", async () => {
    lab.write("fail.sh", `#!/bin/sh\ntest -e ${lab.folder}/mended || { echo 'no room left' >&2; exit 7; }\n`);
    lab.describe({
      provision: {
        steps: [
          { kind: "script", from: "install.sh" },
          { kind: "script", from: "fail.sh" },
        ],
      },
    });
    const failed = await lab.run("provision");
    expect(failed).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/fail\.sh .*ended with 7: no room left/),
    });
    const status = await lab.json("status");
    expect(status).toMatchObject({ lastRun: { outcome: "failed", error: { code: "remote-failed" } } });
    lab.write("mended", "");
    expect(await lab.run("resume")).toMatchObject({ code: 0 });
    expect(lines("installed")).toHaveLength(2);
  });

  it("ends a script that goes past its time limit, also inside the machine", async () => {
    lab.write("hang.sh", `#!/bin/sh\necho $$ > ${lab.folder}/pid\nexec sleep 600\n`);
    lab.boxes.splice(1);
    lab.describe({ provision: { steps: [{ kind: "script", from: "hang.sh", timeout: "1s" }] } });
    const failed = await lab.run("provision");
    expect(failed).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("did not finish in 1 s [remote-timeout]"),
    });
    expect((await runCommand("kill", ["-0", lines("pid")[0] ?? ""])).code).not.toBe(0);
  });

  it("is not entered when a shadow shows another key than the pinned one", async () => {
    const [first, second] = lab.boxes;
    if (!first || !second) throw new Error("two boxes");
    const { knownHostsLine } = second.sshd;
    const other = knownHostsLine.call(second.sshd).split(" ").slice(1).join(" ");
    lab.describe({ ssh: {} });
    writeFileSync(lab.file, readFileSync(lab.file, "utf8").replace(/hostKey: .*/, `hostKey: ${other}`));
    const refused = await lab.run("provision");
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("host-key-changed") });
  });

  it("is not resumed with a file that has changed since", async () => {
    lab.write("fail.sh", "#!/bin/sh\nexit 1\n");
    lab.describe({ provision: { steps: [{ kind: "script", from: "fail.sh" }] } });
    await lab.run("provision");
    lab.describe({ provision: { steps: [] } });
    expect(await lab.run("resume")).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("farm-file-changed"),
    });
    expect((await lab.run("plan")).stdout).toContain("the file has changed since 'provision'");
    expect(await lab.run("provision")).toMatchObject({ code: 0 });
  });

  it("has an audit, and shows that its journal was changed (exit 4)", async () => {
    lab.describe({ provision: { steps: [{ kind: "script", from: "install.sh" }] } });
    await lab.json("provision");
    const audit = join(lab.folder, "audit.md");
    expect(await lab.run("status", "--audit", audit)).toMatchObject({ code: 0 });
    expect(readFileSync(audit, "utf8")).toMatch(
      /## provision, 2.*\n[\s\S]*done: run install\.sh on .*web1[\s\S]*\*\*done\*\*/,
    );
    const catalog = join(lab.doppel.home, "catalog.db");
    const change =
      "UPDATE farm_entries SET body = replace(body, 'install.sh', 'innocent') WHERE sequence = 4";
    await runCommand("node", [
      "-e",
      `new (require("better-sqlite3"))(process.argv[1]).exec(process.argv[2])`,
      catalog,
      change,
    ]);
    expect(await lab.run("status", "--verify")).toMatchObject({
      code: 4,
      stdout: expect.stringContaining("entry 4: its text is not what its hash says"),
    });
  });

  it("names a part of the file that is not there", async () => {
    lab.describe({ provision: { steps: [{ kind: "script", from: "instal.sh" }] } });
    const result = await lab.run("provision");
    expect(result).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/names instal\.sh.*farm-part-missing/),
    });
    expect(await lab.run("plan", "--json")).toMatchObject({ code: 2 });
  });
});

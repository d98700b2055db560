import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Sshd } from "../../fixtures/sshd.ts";
import { parseSize } from "../../src/units.ts";
import { benchDisk } from "./disk.ts";
import { type Measure, measure, ratioLines, summarise, table } from "./measure.ts";

const { values: flags } = parseArgs({
  options: {
    runs: { type: "string", default: "3" },
    disk: { type: "string", default: "12G" },
    used: { type: "string", default: "4.5G" },
    work: { type: "string", default: join(tmpdir(), "doppel-bench") },
    json: { type: "boolean", default: false },
    /** Only the contenders whose name this is found in; those that others build on must be among them. */
    only: { type: "string", default: "" },
  },
});
const root = resolve(process.argv[1] ?? ".", "../../../..");
const work = resolve(flags.work);
const disk = join(work, `disk-${flags.disk}-${flags.used}.img`);

function out(name: string): string {
  const path = join(work, name);
  rmSync(path, { force: true });
  return path;
}

function shell(command: string): void {
  execFileSync("bash", ["-o", "pipefail", "-c", command], { stdio: ["ignore", "ignore", "inherit"] });
}

const CONVERT = "qemu-img convert -c -W -m 16 -O qcow2 -o compression_type=zstd";

benchDisk(disk, { diskBytes: parseSize(flags.disk), usedBytes: parseSize(flags.used), seed: 12 });
await using sshd = await Sshd.start();
const sshFile = join(work, "ssh_config");
const sshLines = [
  "Host source",
  "HostName 127.0.0.1",
  `Port ${sshd.port}`,
  `User ${sshd.user}`,
  `IdentityFile ${sshd.userKey}`,
];
writeFileSync(sshFile, `${sshLines.join("\n")}\nUserKnownHostsFile ${sshd.knownHosts}\n`);
const ssh = `ssh -F '${sshFile}' -c aes128-gcm@openssh.com source`;
const home = mkdtempSync(join(work, "home-"));
const loop = execFileSync("losetup", ["--find", "--show", "--read-only", disk], { encoding: "utf8" }).trim();
const doppel = (...args: string[]) =>
  JSON.parse(
    execFileSync(join(root, "bin/doppel"), [...args, "--json"], {
      env: { ...process.env, DOPPEL_HOME: home },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );

let stages: unknown;
const contenders: Record<string, () => number> = {
  "ours: capture over ssh to a sealed image": () => {
    const result = doppel("capture", "source", "--ssh-config", sshFile, "--disk", loop, "--name", "bench");
    stages = {
      agentMilliseconds: result.stages,
      agentCpuMilliseconds: result.cpuMilliseconds,
      elapsedMilliseconds: result.elapsedMilliseconds,
    };
    return result.storedBytes;
  },
  "ours: export to qcow2": () => {
    const path = out("ours.qcow2");
    doppel("export", "bench", "-o", path);
    return statSync(path).size;
  },
  "ours: export to VMDK streamOptimized": () => {
    const path = out("ours.vmdk");
    doppel("export", "bench", "-o", path);
    return statSync(path).size;
  },
  "(v) qemu-img convert to VMDK streamOptimized": () => {
    const path = out("v.vmdk");
    shell(`qemu-img convert -f raw -O vmdk -o subformat=streamOptimized ${loop} '${path}'`);
    return statSync(path).size;
  },
  "(a) qemu-img convert of the local disk": () => {
    const path = out("a.qcow2");
    shell(`${CONVERT} ${loop} '${path}'`);
    return statSync(path).size;
  },
  "(b) NBD through ssh into qemu-img convert": () => {
    const path = out("b.qcow2");
    const socket = out("nbd.sock");
    const remote = out("nbd-remote.sock");
    shell(
      `qemu-nbd -r -f raw -k '${remote}' ${loop} & nbd=$!; ` +
        `ssh -F '${sshFile}' -c aes128-gcm@openssh.com -N -L '${socket}:${remote}' source & tunnel=$!; ` +
        `trap 'kill $tunnel $nbd' EXIT; until [ -S '${socket}' ] && [ -S '${remote}' ]; do sleep 0.05; done; ` +
        `${CONVERT} -f raw 'nbd+unix:///?socket=${socket}' '${path}'`,
    );
    return statSync(path).size;
  },
  "(c) partclone, zstd -3 -T2, ssh to a file": () => {
    const path = out("c.pcl.zst");
    shell(`${ssh} "partclone.ext4 -c -s ${loop} -L /dev/null 2>/dev/null | zstd -q -3 -T2" > '${path}'`);
    return statSync(path).size;
  },
  "(d) dd, zstd, ssh to a raw file, then (a)": () => {
    const raw = out("d.raw");
    const path = out("d.qcow2");
    shell(`${ssh} "dd if=${loop} bs=1M status=none | zstd -q -3 -T2" | zstd -q -d --sparse -o '${raw}'`);
    shell(`${CONVERT} -f raw '${raw}' '${path}'`);
    rmSync(raw);
    return statSync(path).size;
  },
};

const results = new Map<string, Measure[]>();
try {
  shell(`cat '${disk}' > /dev/null`);
  for (let run = 0; run < Number(flags.runs); run++) {
    for (const [name, work] of Object.entries(contenders)) {
      if (!new RegExp(flags.only).test(name)) continue;
      const result = measure(work);
      results.set(name, [...(results.get(name) ?? []), result]);
      process.stderr.write(
        `run ${run + 1}: ${name}: ${result.seconds.toFixed(1)} s, ${result.bytes} bytes\n`,
      );
    }
  }
} finally {
  execFileSync("losetup", ["--detach", loop]);
  rmSync(home, { recursive: true, force: true });
}

const summary = summarise(results);
const secondsOf = (prefix: string) =>
  summary.find((one) => one.name.startsWith(prefix))?.seconds ?? Number.NaN;
const bytesOf = (prefix: string) => summary.find((one) => one.name.startsWith(prefix))?.bytes ?? Number.NaN;
const ratios = [
  ["capture to (a), time", secondsOf("ours: capture") / secondsOf("(a)"), 0.8],
  ["image to (a)'s file, bytes", bytesOf("ours: capture") / bytesOf("(a)"), 1],
  ["exported file to (a)'s file, bytes", bytesOf("ours: export to qcow2") / bytesOf("(a)"), 1],
  ["export to (a), time", secondsOf("ours: export to qcow2") / secondsOf("(a)"), 0.25],
  ["capture to (b), time", secondsOf("ours: capture") / secondsOf("(b)"), 0.4],
  ["capture to (c), time", secondsOf("ours: capture") / secondsOf("(c)"), null],
  ["capture to (d), time", secondsOf("ours: capture") / secondsOf("(d)"), 0.4],
  ["VMDK to (v), time", secondsOf("ours: export to VMDK") / secondsOf("(v)"), 0.2],
  ["VMDK to (v)'s file, bytes", bytesOf("ours: export to VMDK") / bytesOf("(v)"), 1.03],
] as const;
if (flags.json) process.stdout.write(`${JSON.stringify({ summary, ratios, stages }, undefined, 2)}\n`);
else {
  process.stdout.write(table(summary));
  process.stdout.write("\nmedians; source in the page cache for everybody\n");
  process.stdout.write(ratioLines(ratios));
  process.stdout.write(`\nwhere the agent's time goes: ${JSON.stringify(stages)}\n`);
}

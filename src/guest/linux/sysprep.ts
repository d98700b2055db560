import { changeFile } from "../changes.ts";
import type { ChangedFile, GuestContext, Step } from "../step.ts";
import { enableUnit, initSystemOf, link } from "./service-links.ts";

/** What tells one machine from another, or belongs to its past; a copy must not have it. */
const REMOVED: readonly { what: string; patterns: readonly string[] }[] = [
  { what: "SSH host keys", patterns: ["/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub"] },
  {
    what: "persistent network rules",
    patterns: ["/etc/udev/rules.d/*persistent-net.rules", "/etc/udev/rules.d/*persistent-cd.rules"],
  },
  {
    what: "DHCP leases and identifiers",
    patterns: [
      "/var/lib/dhcp/*",
      "/var/lib/dhclient/*",
      "/var/lib/dhcpcd/*",
      "/var/lib/NetworkManager/*lease*",
      "/var/lib/NetworkManager/secret_key",
      "/var/lib/wicked/*",
    ],
  },
  {
    what: "random seeds",
    patterns: ["/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/seedrng/*"],
  },
  { what: "D-Bus machine id", patterns: ["/var/lib/dbus/machine-id"] },
];

const KEYS_UNIT = "doppel-ssh-keys.service";
const KEYS = `[Unit]
Description=SSH host keys of this copy
Before=ssh.service sshd.service ssh.socket sshd.socket
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
`;
const KEYS_SYSVINIT = `#!/bin/sh
### BEGIN INIT INFO
# Provides:          doppel-ssh-keys
# Required-Start:    $local_fs
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:
# X-Start-Before:    ssh sshd
# Short-Description: SSH host keys of this copy
### END INIT INFO
[ "$1" = start ] && exec /usr/bin/ssh-keygen -A
exit 0
`;

/** Makes copies of a machine safe beside each other and beside the original, for `--sysprep`. */
export async function planSysprep({ guestfish, wishes }: GuestContext): Promise<Step[]> {
  const steps: Step[] = [];
  if (wishes.hostname !== undefined) steps.push(await hostnameStep(guestfish, wishes.hostname));
  if (!wishes.sysprep) return steps;
  const why = "copies that share it get in each other's way, or tell what is another machine's";
  for (const { what, patterns } of REMOVED) {
    const paths = await guestfish.expand(patterns);
    if (paths.length === 0) continue;
    steps.push({
      name: "sysprep",
      what: `${what} removed: ${paths.join(", ")}`,
      why,
      apply: async () => {
        for (const path of paths) await guestfish.run("rm-rf", path);
        return paths.map((path) => ({ path, original: null }));
      },
    });
  }
  steps.push(machineIdStep(guestfish, why), logsStep(guestfish), keysStep(guestfish));
  return steps;
}

type Guestfish = GuestContext["guestfish"];

/** An empty file: the first boot makes one (machine-id(5), "First boot semantics"). */
function machineIdStep(guestfish: Guestfish, why: string): Step {
  const path = "/etc/machine-id";
  return {
    name: "sysprep",
    what: `${path} emptied`,
    why,
    apply: async () => {
      if ((await guestfish.tryRun("is-file", path)) !== "true") return [];
      await guestfish.run("truncate", path);
      return [{ path, original: null }];
    },
  };
}

/** Journals go, the files of other logs are emptied: those who write them expect the files and their owners. */
function logsStep(guestfish: Guestfish): Step {
  return {
    name: "sysprep",
    what: "logs below /var/log emptied",
    why: "they tell the past of another machine",
    apply: async () => {
      if ((await guestfish.tryRun("is-dir", "/var/log")) !== "true") return [];
      const changed: ChangedFile[] = [];
      for (const path of await guestfish.expand(["/var/log/journal/*"])) {
        await guestfish.run("rm-rf", path);
        changed.push({ path, original: null });
      }
      for (const name of await guestfish.lines("find", "/var/log/")) {
        const path = `/var/log/${name}`;
        if ((await guestfish.tryRun("is-file", path)) !== "true") continue;
        await guestfish.run("truncate", path);
        changed.push({ path, original: null });
      }
      return changed;
    },
  };
}

/** Not every distribution makes missing host keys by itself. */
function keysStep(guestfish: Guestfish): Step {
  return {
    name: "sysprep",
    what: "SSH host keys are made on the first boot",
    why: "sshd does not start without",
    apply: async () => {
      if ((await initSystemOf(guestfish)) === "systemd") return await enableUnit(guestfish, KEYS_UNIT, KEYS);
      const script = "/etc/init.d/doppel-ssh-keys";
      const changed = [await changeFile(guestfish, script, KEYS_SYSVINIT, 0o755)];
      for (const level of [2, 3, 4, 5]) {
        const folder = `/etc/rc${level}.d`;
        if ((await guestfish.tryRun("is-dir", folder)) === "true")
          changed.push(await link(guestfish, script, `${folder}/S01doppel-ssh-keys`));
      }
      return changed;
    },
  };
}

async function hostnameStep(guestfish: Guestfish, hostname: string): Promise<Step> {
  const before = (await guestfish.read("/etc/hostname"))?.toString("utf8").trim();
  const hosts = (await guestfish.read("/etc/hosts"))?.toString("utf8");
  const legacy = (await guestfish.read("/etc/sysconfig/network"))?.toString("utf8");
  return {
    name: "host-name",
    what: `it is called ${hostname}${before ? `, no longer ${before}` : ""}`,
    why: "it was asked for",
    apply: async () => {
      const changed = [await changeFile(guestfish, "/etc/hostname", `${hostname}\n`)];
      if (hosts !== undefined && before && hosts.split(/\s+/).includes(before)) {
        const text = hosts.replace(/\S+/g, (word) => (word === before ? hostname : word));
        changed.push(await changeFile(guestfish, "/etc/hosts", text));
      }
      if (legacy !== undefined && /^HOSTNAME=/m.test(legacy)) {
        const text = legacy.replace(/^HOSTNAME=.*$/m, `HOSTNAME=${hostname}`);
        changed.push(await changeFile(guestfish, "/etc/sysconfig/network", text));
      }
      return changed;
    },
  };
}

import { changeFile } from "../changes.ts";
import type { ChangedFile, GuestContext, Step } from "../step.ts";
import { enableUnit, type InitSystem, initSystemOf, link } from "./service-links.ts";

const FOLDER = "/usr/local/lib/doppel/firstboot";
const NAME = "doppel-firstboot";

/** Runs each script once, in order; a script that fails is not tried again. What they say goes to a log. */
const RUNNER = `#!/bin/sh
# Runs the scripts that a conversion left for the first boot, each once.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
folder=${FOLDER}
log=/var/log/doppel-firstboot.log
umask 077
mkdir -p "$folder/done"
for script in "$folder"/[0-9]*; do
  [ -f "$script" ] || continue
  # Moved first: a script that restarts the machine does not run again.
  mv "$script" "$folder/done/"
  script="$folder/done/\${script##*/}"
  echo "=== $script starts: $(date)" >>"$log"
  "$script" >>"$log" 2>&1 </dev/null
  echo "=== $script ended with $?" >>"$log"
done
`;

const UNIT = `[Unit]
Description=Scripts for the first boot after a conversion
After=network-online.target
Wants=network-online.target
ConditionDirectoryNotEmpty=${FOLDER}

[Service]
Type=oneshot
ExecStart=${FOLDER}/run
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
`;

const SYSVINIT = `#!/bin/sh
### BEGIN INIT INFO
# Provides:          ${NAME}
# Required-Start:    $all
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Scripts for the first boot after a conversion
### END INIT INFO
# chkconfig: 2345 99 01
[ "$1" = start ] && exec ${FOLDER}/run
exit 0
`;

const OPENRC = `#!/sbin/openrc-run
description="Scripts for the first boot after a conversion"
depend() { need net; after *; }
start() { ${FOLDER}/run; }
`;

/** Scripts for the first boot: the user's, and what the target's agent needs. */
export async function planFirstboot(context: GuestContext): Promise<Step[]> {
  const { guestfish } = context;
  const scripts = scriptsOf(context);
  if (scripts.length === 0) return [];
  const init = await initSystemOf(guestfish);
  return [
    {
      name: "firstboot",
      what: `${scripts.map(({ name }) => name).join(", ")} for the first boot (${init})`,
      why: "it was asked for; the log is /var/log/doppel-firstboot.log",
      adds: [{ path: FOLDER, bytes: scripts.reduce((sum, { content }) => sum + content.length, 16_384) }],
      apply: async () => {
        const changed = [await changeFile(guestfish, `${FOLDER}/run`, RUNNER, 0o700)];
        for (const [index, { name, content }] of scripts.entries()) {
          const number = String(index + 1).padStart(4, "0");
          changed.push(await changeFile(guestfish, `${FOLDER}/${number}-${name}`, content, 0o700));
        }
        return [...changed, ...(await enable(guestfish, init))];
      },
    },
  ];
}

function scriptsOf({ wishes, target }: GuestContext): { name: string; content: Buffer }[] {
  const scripts = wishes.firstboot.map(({ name, content }) => ({
    name: name.replace(/[^A-Za-z0-9._-]/g, "_"),
    content,
  }));
  const agent = { kvm: "qemu-guest-agent", vmware: "open-vm-tools", hyperv: "hyperv-daemons" }[target.name];
  if (wishes.guestAgent) scripts.push({ name: agent, content: Buffer.from(installScript(agent)) });
  return scripts;
}

/** Installs a package by whichever manager is there. */
function installScript(name: string): string {
  return `#!/bin/sh
package=${name}
if command -v apt-get >/dev/null; then
  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "$package"
elif command -v dnf >/dev/null; then dnf install -y "$package"
elif command -v yum >/dev/null; then yum install -y "$package"
elif command -v zypper >/dev/null; then zypper --non-interactive install "$package"
elif command -v pacman >/dev/null; then pacman -Sy --noconfirm "$package"
elif command -v apk >/dev/null; then apk add "$package" && rc-update add "$package" default
else echo "no known package manager"; exit 1
fi
if command -v systemctl >/dev/null; then systemctl enable --now "$package" || true; fi
`;
}

async function enable(guestfish: GuestContext["guestfish"], init: InitSystem): Promise<ChangedFile[]> {
  switch (init) {
    case "systemd":
      return await enableUnit(guestfish, `${NAME}.service`, UNIT);
    case "openrc":
      return [
        await changeFile(guestfish, `/etc/init.d/${NAME}`, OPENRC, 0o755),
        await link(guestfish, `/etc/init.d/${NAME}`, `/etc/runlevels/default/${NAME}`),
      ];
    case "sysvinit": {
      const changed = [await changeFile(guestfish, `/etc/init.d/${NAME}`, SYSVINIT, 0o755)];
      // RHEL-likes have their run levels one folder further down.
      const base = (await guestfish.tryRun("is-dir", "/etc/rc.d/rc3.d")) === "true" ? "/etc/rc.d" : "/etc";
      for (const level of [2, 3, 4, 5])
        changed.push(await link(guestfish, `/etc/init.d/${NAME}`, `${base}/rc${level}.d/S99${NAME}`));
      return changed;
    }
  }
}

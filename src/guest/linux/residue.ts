import { changeFile } from "../changes.ts";
import type { ChangedFile, GuestContext, Step } from "../step.ts";
import type { Target } from "../target.ts";
import { type InitSystem, initSystemOf, link } from "./service-links.ts";

interface Residue {
  what: string;
  /** Names of services, as systemd, OpenRC and sysvinit know them. */
  services: readonly string[];
  /** Hardware on which it is of use all the same. */
  usefulOn?: Target["name"];
}

/** What runs for the sake of hardware that a virtual machine does not have, or of another hypervisor. */
const RESIDUE: readonly Residue[] = [
  {
    what: "IPMI",
    services: ["ipmi", "openipmi", "ipmievd", "ipmidetectd", "freeipmi-ipmiseld", "bmc-watchdog"],
  },
  {
    what: "HPE agents",
    services: ["hp-health", "hp-asrd", "hp-snmp-agents", "hpsmhd", "amsd", "smad", "mr_cpqScsi"],
  },
  {
    what: "Dell agents",
    services: [
      "dataeng",
      "dsm_om_connsvc",
      "dsm_om_shrsvc",
      "dsm_sa_datamgrd",
      "dsm_sa_eventmgrd",
      "instsvcdrv",
      "racsvc",
    ],
  },
  {
    what: "RAID controller agents",
    services: [
      "lsi_mrdsnmpd",
      "mrmonitor",
      "vivaldiframeworkd",
      "aacraid-status",
      "megaraid-sas-status",
      "megaraidsas-statusd",
      "cciss-vol-statusd",
      "mpt-statusd",
    ],
  },
  { what: "multipath", services: ["multipathd", "multipath-tools", "multipath-tools-boot"] },
  { what: "disk self-tests", services: ["smartd", "smartmontools", "smartctl-exporter"] },
  { what: "machine check reports", services: ["mcelog", "mcelogd", "rasdaemon"] },
  { what: "microcode", services: ["microcode", "microcode_ctl"] },
  {
    what: "sensors and fans",
    services: ["lm-sensors", "lm_sensors", "sensord", "fancontrol", "thermald", "hddtemp"],
  },
  {
    what: "GPU drivers",
    services: ["nvidia-persistenced", "nvidia-fabricmanager", "nvidia-powerd", "nvidia-dcgm", "amdgpu-pro"],
  },
  {
    what: "VMware tools",
    services: ["vmtoolsd", "open-vm-tools", "vmware-tools", "vgauthd", "vgauth", "run-vmblock-fuse.mount"],
    usefulOn: "vmware",
  },
  {
    what: "VirtualBox additions",
    services: ["vboxadd", "vboxadd-service", "vboxservice", "virtualbox-guest-utils", "vboxadd-x11"],
  },
  { what: "Xen tools", services: ["xe-linux-distribution", "xe-daemon", "xendomains", "xenstored"] },
  {
    what: "Hyper-V daemons",
    services: [
      "hv-kvp-daemon",
      "hv-vss-daemon",
      "hv-fcopy-daemon",
      "hypervkvpd",
      "hypervvssd",
      "hypervfcopyd",
    ],
    usefulOn: "hyperv",
  },
  { what: "the KVM agent", services: ["qemu-guest-agent", "qemu-ga"], usefulOn: "kvm" },
  { what: "Parallels tools", services: ["prltoolsd", "prl-x11"] },
];

const UNIT_FOLDERS = ["/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];

/** Switches off what only the old hardware needs; each thing is listed, and restored by taking one link away. */
export async function planResidue({ guestfish, target, wishes }: GuestContext): Promise<Step[]> {
  if (wishes.keepResidue) return [];
  const init = await initSystemOf(guestfish);
  const present = await servicesOf(guestfish, init);
  const steps: Step[] = [];
  for (const { what, services, usefulOn } of RESIDUE) {
    if (usefulOn === target.name) continue;
    const found = services.filter((name) => present.has(name));
    if (found.length === 0) continue;
    steps.push({
      name: "residue",
      what: `${what}: ${found.join(", ")} switched off`,
      why: `there is nothing for it to do on ${target.name}`,
      apply: async () => {
        const changed: ChangedFile[] = [];
        for (const name of found) changed.push(...(await switchOff(guestfish, init, name)));
        return changed;
      },
    });
  }
  return steps;
}

type Guestfish = GuestContext["guestfish"];

async function servicesOf(guestfish: Guestfish, init: InitSystem): Promise<Set<string>> {
  const folders = init === "systemd" ? [...UNIT_FOLDERS, "/etc/init.d"] : ["/etc/init.d"];
  const names = new Set<string>();
  for (const folder of folders) {
    if ((await guestfish.tryRun("is-dir", folder, "followsymlinks:true")) !== "true") continue;
    for (const name of await guestfish.lines("ls", folder)) names.add(name.replace(/\.service$/, ""));
  }
  return names;
}

async function switchOff(guestfish: Guestfish, init: InitSystem, name: string): Promise<ChangedFile[]> {
  switch (init) {
    case "systemd": {
      // Masked (systemctl(1)): neither started at boot nor by another unit.
      const unit = /\.[a-z]+$/.test(name) ? name : `${name}.service`;
      const masked = [await link(guestfish, "/dev/null", `/etc/systemd/system/${unit}`)];
      const socket = name === "multipathd" ? `${name}.socket` : undefined;
      if (socket) masked.push(await link(guestfish, "/dev/null", `/etc/systemd/system/${socket}`));
      return masked;
    }
    case "openrc":
      return await putAside(guestfish, `/etc/runlevels/*/${name}`);
    case "sysvinit":
      // A link that starts with neither S nor K is not looked at.
      return [
        ...(await putAside(guestfish, `/etc/rc*.d/S[0-9][0-9]${name}`)),
        ...(await putAside(guestfish, `/etc/rc.d/rc*.d/S[0-9][0-9]${name}`)),
        ...((await guestfish.tryRun("is-file", `/etc/init/${name}.conf`)) === "true"
          ? [await changeFile(guestfish, `/etc/init/${name}.override`, "manual\n")]
          : []),
      ];
  }
}

async function putAside(guestfish: Guestfish, pattern: string): Promise<ChangedFile[]> {
  const changed: ChangedFile[] = [];
  for (const path of await guestfish.lines("glob-expand", pattern)) {
    const slash = path.lastIndexOf("/") + 1;
    const original = `${path.slice(0, slash)}doppel-original-${path.slice(slash)}`;
    await guestfish.run("mv", path, original);
    changed.push({ path, original });
  }
  return changed;
}

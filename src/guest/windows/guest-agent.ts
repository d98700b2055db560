import { agentScript } from "./firstboot-scripts.ts";
import { refused } from "./refusals.ts";
import type { WindowsContext, WindowsStep } from "./windows-step.ts";

const PACKAGES: Record<string, RegExp> = {
  amd64: /(?:^|\/)qemu-ga-x86_64\.msi$/i,
  x86: /(?:^|\/)qemu-ga-i386\.msi$/i,
};

/** qemu-ga from the virtio-win ISO. Hyper-V's agent is a part of Windows. */
export async function planGuestAgent(context: WindowsContext): Promise<WindowsStep | undefined> {
  const { wishes, target, windows, drivers } = context;
  if (!wishes.guestAgent || target.name === "hyperv") return undefined;
  if (target.name === "vmware")
    throw refused("VMware Tools are not installed from here", "leave --guest-agent out; ESXi offers them");
  if (!drivers) throw refused("the guest agent is on the virtio-win ISO", "give it: --virtio-win ISO");
  const found = drivers.files.find((path) => PACKAGES[windows.arch]?.test(path));
  if (!found) throw refused(`virtio-win has no guest agent for ${windows.arch}`, "leave --guest-agent out");
  return {
    name: "guest-agent",
    what: "qemu-ga is installed on the first boot",
    why: "it was asked for",
    files: [
      {
        path: `${windows.systemRoot}/Drivers/VirtIO/qemu-ga.msi`,
        bytes: await drivers.size(found),
        content: () => drivers.read(found),
      },
    ],
    scripts: [{ name: "guest-agent.cmd", content: agentScript("Drivers\\VirtIO\\qemu-ga.msi") }],
  };
}

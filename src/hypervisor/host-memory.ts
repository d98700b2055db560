import { freemem } from "node:os";
import type { Virsh } from "./virsh.ts";

const KIB = 1024;

/** Memory of a libvirt's host that a new domain could have, in bytes: free, and what the kernel gives back at once. */
export async function freeMemory(virsh: Virsh): Promise<number> {
  const { stdout, exitCode } = await virsh.run(["nodememstats"], { allowFailure: true });
  if (exitCode !== 0) return freemem();
  const member = (name: string) =>
    Number(new RegExp(`^${name}\\s*:\\s*(\\d+) KiB`, "m").exec(stdout)?.[1] ?? 0);
  return (member("free") + member("buffers") + member("cached")) * KIB;
}

/**
 * What a running domain was promised and has not taken yet, in bytes: the host's free memory is not free of that. 0 for one
 * that does not run.
 */
export async function promisedMemory(virsh: Virsh, domain: string): Promise<number> {
  const { stdout, exitCode } = await virsh.run(["dommemstat", domain], { allowFailure: true });
  if (exitCode !== 0) return 0;
  const member = (name: string) => Number(new RegExp(`^${name} (\\d+)`, "m").exec(stdout)?.[1] ?? 0);
  return Math.max(0, member("actual") - member("rss")) * KIB;
}

/** The names of the domains that run. */
export async function runningDomains(virsh: Virsh): Promise<string[]> {
  const { stdout } = await virsh.run(["list", "--name"]);
  return stdout.split("\n").filter((name) => name.trim() !== "");
}

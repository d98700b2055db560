import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makePrivateFolder, writeDurableFile } from "../../durable-file.ts";
import { systemErrorCode } from "../../errors.ts";
import { Virsh } from "../../hypervisor/virsh.ts";
import type { FarmContext } from "../context.ts";
import type { Step } from "../engine/step.ts";
import type { FarmBox } from "../file/boxes.ts";

/** Steps of this name end the old version for good. */
export const OLD_MACHINE_STEP = "clean/stop/";
/** What comes of these steps tells which disks stay. */
const UNDEFINE_STEP = "clean/undefine/";

const SHUTDOWN_MS = 120_000;
const EVERY_MS = 500;

/** The old machine of a box in libvirt, or undefined when the file names none: then it is nothing that could be removed. */
export function oldDomain(box: FarmBox): { connect: string; domain: string } | undefined {
  const domain = box.live?.domain;
  return box.kind === "libvirt" && domain !== undefined ? { connect: box.connect, domain } : undefined;
}

/** Shuts the old machine of a box down and takes it out of libvirt. Its disks stay, and so does its definition, as a file. */
export async function oldMachineSteps(context: FarmContext, box: FarmBox): Promise<Step[]> {
  const old = oldDomain(box);
  if (!old) return [leftAloneStep(box)];
  const { connect, domain } = old;
  const virsh = new Virsh(connect);
  const disks = (await disksOf(virsh, domain)) ?? (await readKept(context, domain))?.disks ?? [];
  return [
    {
      id: `${OLD_MACHINE_STEP}${box.name}`,
      title: `shut down ${domain}, the old machine of ${box.name}, on ${connect}`,
      inputs: { connect, domain },
      undoes: "nothing: afterwards there is no rollback",
      probe: async () => {
        const state = await virsh.state(domain);
        return isOff(state) ? { state: "done", result: state } : { state: "absent" };
      },
      run: async (signal) => await shutDown(virsh, domain, signal),
    },
    {
      id: `${UNDEFINE_STEP}${box.name}`,
      title: `take ${domain} out of libvirt; its disks stay: ${disks.join(", ") || "none"}`,
      inputs: { connect, domain },
      undoes: "nothing; 'virsh define' takes the definition that is kept",
      probe: async () =>
        (await virsh.state(domain)) === "missing"
          ? { state: "done", result: (await readKept(context, domain)) ?? `${domain} is not there` }
          : { state: "absent" },
      run: async () => {
        await keepDefinition(context, virsh, domain);
        await virsh.run(["undefine", domain, "--keep-nvram"]);
        return { domain, disks, definition: definitionPath(context, domain) };
      },
    },
  ];
}

/** Says of a machine that is nothing of libvirt's that it stays. */
function leftAloneStep({ name, live }: FarmBox): Step {
  const where = live ? ` at ${live.address}` : "";
  return {
    id: `clean/left-alone/${name}`,
    title: `leave the old machine of ${name}${where} as it is: only detached (live.domain names none)`,
    inputs: null,
    undoes: "nothing: it is not touched",
    probe: async () => ({ state: "done", result: "it stays as it is" }),
    run: async () => null,
  };
}

function isOff(state: string): boolean {
  return state === "shut off" || state === "missing";
}

/** Asks the guest to shut down; one that does not hear is switched off. */
async function shutDown(virsh: Virsh, domain: string, signal: AbortSignal): Promise<string> {
  const deadline = performance.now() + SHUTDOWN_MS;
  await virsh.run(["shutdown", domain], { allowFailure: true });
  while (performance.now() < deadline) {
    if (isOff(await virsh.state(domain))) return "it shut down";
    await sleep(EVERY_MS, undefined, { signal });
  }
  await virsh.run(["destroy", domain]);
  return `switched off: it did not shut down within ${SHUTDOWN_MS / 1000} s`;
}

/** Undefined: libvirt does not know the machine. */
async function disksOf(virsh: Virsh, domain: string): Promise<string[] | undefined> {
  const { stdout, exitCode } = await virsh.run(["domblklist", domain, "--details"], { allowFailure: true });
  if (exitCode !== 0) return undefined;
  return stdout.split("\n").flatMap((line) => /^\s*\S+\s+disk\s+\S+\s+(.+?)\s*$/.exec(line)?.[1] ?? []);
}

function definitionPath({ store, farm }: FarmContext, domain: string): string {
  return join(store.home, "farms", farm.spec.name, `${domain}.xml`);
}

async function keepDefinition(context: FarmContext, virsh: Virsh, domain: string): Promise<void> {
  const path = definitionPath(context, domain);
  await makePrivateFolder(dirname(path));
  const { stdout } = await virsh.run(["dumpxml", domain, "--inactive"]);
  await writeDurableFile(path, stdout);
}

/** What a command that was killed behind its last step could not say any more. */
async function readKept(context: FarmContext, domain: string) {
  const definition = definitionPath(context, domain);
  const text = await readFile(definition, "utf8").catch((error: unknown) => {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const disks = [...text.matchAll(/<disk type='[a-z]+' device='disk'[\s\S]*?<\/disk>/g)].flatMap(
    ([disk]) => /<source (?:file|dev|name)='([^']*)'/.exec(disk)?.[1] ?? [],
  );
  return { domain, disks, definition };
}

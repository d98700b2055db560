import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, posix } from "node:path";
import { DoppelError, EXIT, systemErrorCode, wrapError } from "../../errors.ts";
import type { Step } from "../engine/step.ts";
import type { Farm } from "../file/load.ts";
import type { ProvisioningStep } from "../file/provisioning.ts";
import { fileState, mustRemote, putFile, remoteFolder, runRemote } from "../machines/remote.ts";
import type { Shadow } from "../machines/shadow.ts";

/** Where a machine keeps what has run in it: reality that goes with the machine, not with our journal. */
const MARKS = "/var/lib/doppel";
const SHORT_MS = 30_000;

type Of<K extends ProvisioningStep["kind"]> = Extract<ProvisioningStep, { kind: K }>;

/** The file's provisioning steps of one shadow, in order. Reads the local files: `farm-part-missing` when one is not there. */
export async function provisioningSteps(farm: Farm, shadow: Shadow): Promise<Step[]> {
  const steps: Step[] = [];
  for (const [index, step] of farm.spec.provision.steps.entries()) {
    const id = `box/${shadow.box.name}/provision/${index + 1}`;
    if (step.kind === "file") steps.push(fileStep(id, shadow, step, await readPart(farm, step.from)));
    else if (step.kind === "script")
      steps.push(scriptStep(id, farm, shadow, step, await readPart(farm, step.from)));
    else steps.push(commandStep(id, farm, shadow, step));
  }
  return steps;
}

/** A file that the farm file names. Throws `farm-part-missing` (exit 2). */
export async function readPart(farm: Farm, path: string): Promise<Buffer> {
  try {
    return await readFile(farm.resolve(path));
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT")
      throw wrapError(error, "farm-part-missing", `${path} cannot be read`);
    throw new DoppelError("farm-part-missing", `${farm.path} names ${path}, and it is not there`, {
      hint: "paths in a farm file are relative to its folder",
      exitCode: EXIT.usage,
      cause: error,
    });
  }
}

function fileStep(id: string, shadow: Shadow, { to, mode, from }: Of<"file">, content: Buffer): Step {
  const sha256 = digestOf(content);
  return {
    id,
    title: `put ${from} to ${to} on ${shadow.name}`,
    inputs: { to, mode, sha256 },
    undoes: goesWith(shadow),
    probe: async (signal) => {
      const there = await fileState(await shadow.connect(signal), to, signal);
      if (!there) return { state: "absent" };
      if (there.sha256 === sha256 && there.mode === mode) return { state: "done", result: { sha256 } };
      return { state: "partial", why: `${to} has other content or another mode` };
    },
    run: async (signal) => {
      await putFile(await shadow.connect(signal), to, content, mode, signal);
      return { sha256 };
    },
  };
}

function scriptStep(id: string, farm: Farm, shadow: Shadow, step: Of<"script">, content: Buffer): Step {
  const sha256 = digestOf(content);
  const mark = markOf(farm, shadow, `script ${sha256}`);
  return {
    id,
    title: `run ${step.from} on ${shadow.name}`,
    inputs: { script: step.from, sha256, timeoutMs: step.timeout },
    undoes: goesWith(shadow),
    probe: (signal) => probeMark(shadow, mark, signal),
    run: async (signal) => {
      const connection = await shadow.connect(signal);
      await using folder = await remoteFolder(connection, signal);
      const path = posix.join(folder.path, basename(step.from));
      await putFile(connection, path, content, "0700", signal);
      // What it prints may be secret, and the journal is kept: only that it ended well is recorded.
      await mustRemote(connection, [path], step.timeout, signal);
      await setMark(shadow, mark, signal);
      return { exitCode: 0 };
    },
  };
}

function commandStep(id: string, farm: Farm, shadow: Shadow, step: Of<"command">): Step {
  const mark = markOf(farm, shadow, `command ${id} ${JSON.stringify(step.run)}`);
  const { unless } = step;
  return {
    id,
    title: `run ${step.run.join(" ")} on ${shadow.name}`,
    inputs: { run: step.run, timeoutMs: step.timeout },
    undoes: goesWith(shadow),
    probe: async (signal) => {
      if (!unless) return await probeMark(shadow, mark, signal);
      const { code } = await runRemote(await shadow.connect(signal), unless, step.timeout, signal);
      return code === 0 ? { state: "done", result: null } : { state: "absent" };
    },
    run: async (signal) => {
      await mustRemote(await shadow.connect(signal), step.run, step.timeout, signal);
      if (!unless) await setMark(shadow, mark, signal);
      return { exitCode: 0 };
    },
  };
}

function markOf(farm: Farm, shadow: Shadow, what: string): string {
  return posix.join(MARKS, farm.spec.name, shadow.box.name, digestOf(Buffer.from(what)));
}

async function probeMark(shadow: Shadow, mark: string, signal: AbortSignal) {
  const { code } = await runRemote(await shadow.connect(signal), ["test", "-e", mark], SHORT_MS, signal);
  return code === 0 ? ({ state: "done", result: "it has run" } as const) : ({ state: "absent" } as const);
}

async function setMark(shadow: Shadow, mark: string, signal: AbortSignal): Promise<void> {
  await putFile(
    await shadow.connect(signal),
    mark,
    Buffer.from(`${new Date().toISOString()}\n`),
    "0600",
    signal,
  );
}

function goesWith(shadow: Shadow): string {
  return shadow.box.kind === "libvirt"
    ? "goes with the shadow when it is discarded"
    : "nothing: the machine was not made here";
}

function digestOf(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

import { basename } from "node:path";
import { AgentSession } from "../agent/session.ts";
import type { Grade } from "../image/config.ts";
import type { MachineFacts } from "../machine/facts.ts";
import { type CapturePlan, capturePlanSchema } from "../machine/plan.ts";
import type { CopyEvents, CopyOptions } from "./copy.ts";
import { diskName } from "./disk-devices.ts";
import { gradeOfDisks } from "./grade.ts";
import { machineFacts, type NamedCard } from "./machine.ts";
import { Sources } from "./sources.ts";

export interface ImportOptions extends CopyOptions {
  /** Instead of what the content of the files says. */
  format?: string | undefined;
  /** Follow the files that the disk images name. */
  allowExternal: boolean;
  /** Look into the disks for the machine facts. */
  inspect: boolean;
  /** Network cards by the names that the machine's system gives them, which no disk or descriptor tells. */
  cards: readonly NamedCard[];
  signal?: AbortSignal | undefined;
}

export interface ImportEvents extends CopyEvents {
  prepared?: (prepared: PreparedImport) => void;
  /** Says what goes on before the copy. */
  stage?: (what: string) => void;
}

/** What an import will do, before anything is copied. */
export interface PreparedImport {
  facts: MachineFacts;
  plan: CapturePlan;
  grade: Grade;
  /** One a disk. */
  files: { name: string; format: string }[];
}

/** FILEs that are open to be read, and what they hold. */
export interface OpenFiles extends AsyncDisposable {
  sources: Sources;
  session: AgentSession;
  prepared: PreparedImport;
  /** Does something, and names files instead of sockets where it fails. */
  inWordsOfFiles<T>(work: () => Promise<T>): Promise<T>;
}

/** Opens FILEs, starts the agent here, and lets it say what they hold. */
export async function openFiles(
  files: readonly string[],
  scratchFolder: string,
  options: ImportOptions,
  events: ImportEvents,
): Promise<OpenFiles> {
  const { signal } = options;
  const sources = await Sources.open(files, {
    format: options.format,
    allowExternal: options.allowExternal,
    scratchFolder,
    signal,
    onStage: events.stage,
  });
  let session: AgentSession | undefined;
  const close = async () => {
    await session?.close();
    await sources[Symbol.asyncDispose]();
  };
  try {
    session = await AgentSession.openHere("import", signal ? { signal } : {});
    const inWordsOfFiles = <T>(work: () => Promise<T>) => renamed(work, sources);
    const prepared = await inWordsOfFiles(() => prepare(session as AgentSession, sources, options, events));
    return { sources, session, prepared, inWordsOfFiles, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function prepare(
  session: AgentSession,
  sources: Sources,
  options: ImportOptions,
  events: ImportEvents,
): Promise<PreparedImport> {
  const sockets = sources.disks.map(({ socketPath }) => socketPath);
  const seen = capturePlanSchema.parse(await session.plan({ disks: sockets, refreshMetadata: false }));
  const plan = {
    disks: seen.disks.map((disk, index) => ({ ...disk, device: `/dev/${diskName(index)}` })),
  };
  const labels = sources.disks.map(({ label }) => basename(label));
  if (options.inspect) events.stage?.("looking into the disks");
  const facts = await machineFacts({
    plan,
    labels,
    described: sources.machine,
    cards: options.cards,
    guestDisks: options.inspect
      ? sockets.map((socketPath) => ({ socketPath, exportName: "", writable: false }))
      : undefined,
    signal: options.signal,
  });
  const files = sources.disks.map(({ format }, index) => ({ name: labels[index] ?? "", format }));
  return { facts, plan, grade: gradeOfDisks(plan), files };
}

/** The agent knows the sockets; people know their files. */
async function renamed<T>(work: () => Promise<T>, sources: Sources): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error)
      for (const { socketPath, label } of sources.disks)
        error.message = error.message.replaceAll(`${socketPath}`, label);
    throw error;
  }
}

import type { AgentSession } from "../agent/session.ts";
import { DoppelError, EXIT } from "../errors.ts";
import type { Grade } from "../image/config.ts";
import { type FirmwareVariable, type MachineFacts, parseFacts } from "../machine/facts.ts";
import { type CapturePlan, capturePlanSchema, type PlannedDisk } from "../machine/plan.ts";
import { chooseDisks, preflight, type Verdict } from "../machine/preflight.ts";
import { gradeOf } from "./grade.ts";

export interface PrepareOptions {
  /** Devices to capture; empty: chosen from the machine facts. */
  disks: readonly string[];
  /**
   * `auto`: whatever the disks allow. `offline`: refused when a file system on them can be written. `fuzzy`: nothing is
   * ever frozen, not even for the instant that makes on-disk metadata true; what cannot be relied on is taken whole.
   */
  mode: CaptureMode;
  /** Longest time to keep file systems frozen for the copy, in milliseconds; 0: not at all. */
  freezeMs: number;
}

export const CAPTURE_MODES = ["auto", "offline", "fuzzy"] as const;
export type CaptureMode = (typeof CAPTURE_MODES)[number];

/** What a capture will do, before anything is copied. */
export interface PreparedCapture {
  facts: MachineFacts;
  /** UEFI variables, taken out of the facts; none on a BIOS machine. */
  firmwareVariables: FirmwareVariable[];
  disks: PlannedDisk[];
  /** Mountpoints to keep frozen for the whole copy. */
  freezeMountpoints: string[];
  expectedGrade: Grade;
  verdict: Verdict;
}

/** Asks the machine for its facts and its plan, and checks them. Nothing is copied, nothing stays frozen. */
export async function prepareCapture(
  session: AgentSession,
  options: PrepareOptions,
): Promise<PreparedCapture> {
  const seen = parseFacts(await session.facts(), "the machine");
  const { variables: firmwareVariables = [], ...firmware } = seen.firmware;
  const facts = { ...seen, firmware };
  const disks = options.disks.length > 0 ? [...options.disks] : chooseDisks(facts);
  if (disks.length === 0) {
    throw new DoppelError("disk-unknown", "the machine has no fixed disk that holds anything", {
      hint: "name one with --disk /dev/sda",
      exitCode: EXIT.refused,
    });
  }
  const plan: CapturePlan = capturePlanSchema.parse(
    await session.plan({ disks, refreshMetadata: options.mode !== "fuzzy" }),
  );
  const writable = plan.disks.filter((disk) => disk.writable);
  const freezeMountpoints =
    options.freezeMs > 0 ? [...new Set(writable.flatMap((disk) => disk.mounted))] : [];
  return {
    facts,
    firmwareVariables,
    disks: plan.disks,
    freezeMountpoints,
    expectedGrade: gradeOf({
      writableMounts: writable.length > 0,
      mounts: freezeMountpoints.length > 0 ? "frozen" : "written",
    }),
    verdict: preflight(facts, plan, {
      offlineOnly: options.mode === "offline",
      fuzzy: options.mode === "fuzzy",
    }),
  };
}

/** Throws `capture-refused` (exit 3) with the first refusal of the pre-flight check. */
export function refuseUnready({ verdict }: PreparedCapture): void {
  const [refusal] = verdict.refusals;
  if (!refusal) return;
  throw new DoppelError("capture-refused", refusal.message, {
    exitCode: EXIT.refused,
    details: { refusals: verdict.refusals },
    ...(refusal.hint === undefined ? {} : { hint: refusal.hint }),
  });
}

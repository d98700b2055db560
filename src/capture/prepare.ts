import { z } from "zod";
import type { AgentSession } from "../agent/session.ts";
import { DoppelError, EXIT } from "../errors.ts";
import type { Grade } from "../image/config.ts";
import { capturePlanSchema, type PlannedDisk } from "../machine/plan.ts";
import type { CaptureOptions } from "./capture.ts";
import { gradeOf } from "./grade.ts";

/** What a capture will do, before anything is copied. */
export interface PreparedCapture {
  facts: Record<string, unknown>;
  disks: PlannedDisk[];
  /** Mountpoints to keep frozen for the whole copy. */
  freezeMountpoints: string[];
  expectedGrade: Grade;
  notes: string[];
}

/** Asks the machine for its facts and its plan, and checks them. */
export async function prepareCapture(
  session: AgentSession,
  options: CaptureOptions,
): Promise<PreparedCapture> {
  const facts = z.record(z.string(), z.unknown()).parse(await session.facts());
  const devices = options.disks.length > 0 ? options.disks : chooseDisks(facts);
  const { disks } = capturePlanSchema.parse(await session.plan({ disks: devices, refreshMetadata: true }));
  const empty = disks.find((disk) => disk.sizeBytes === 0);
  if (empty) {
    throw new DoppelError("capture-refused", `${empty.device} has no bytes`, { exitCode: EXIT.refused });
  }
  const writable = disks.filter((disk) => disk.writable);
  const freezeMountpoints = options.freezeMs > 0 ? writable.flatMap((disk) => disk.mounted) : [];
  return {
    facts,
    disks,
    freezeMountpoints,
    expectedGrade: gradeOf({
      writableMounts: writable.length > 0,
      frozenThroughout: freezeMountpoints.length > 0,
    }),
    notes: [],
  };
}

function chooseDisks(_facts: Record<string, unknown>): string[] {
  throw new DoppelError("usage", "no disk was named", {
    hint: "name one with --disk /dev/sda",
    exitCode: EXIT.usage,
  });
}

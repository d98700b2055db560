import { dirname } from "node:path";
import { DoppelError } from "../../errors.ts";

/** The failure of a dump program; a full disk is told as one, whatever the program calls it. */
export function explainProgram(error: unknown, file: string): unknown {
  if (!(error instanceof DoppelError) || !/no space left|errno:? 28\b|error 28\b/i.test(error.message))
    return error;
  return new DoppelError("ENOSPC", `no space left in ${dirname(file)} for a copy of the database`, {
    hint: "free space there or choose another folder; nothing half-written was kept",
    cause: error,
  });
}

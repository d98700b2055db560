import { existsSync } from "node:fs";
import { DoppelError, EXIT } from "../errors.ts";

/** Where distributions put OVMF; code and the template of its variables. */
const OVMF = [
  ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
  ["/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"],
  ["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"],
] as const;

/** The UEFI firmware of this host; `firmware-missing` (exit 3) when there is none. */
export function findOvmf(): { code: string; varsTemplate: string } {
  for (const [code, varsTemplate] of OVMF)
    if (existsSync(code) && existsSync(varsTemplate)) return { code, varsTemplate };
  throw new DoppelError("firmware-missing", "the machine starts by UEFI and there is no OVMF here", {
    hint: "apt-get install ovmf",
    exitCode: EXIT.refused,
  });
}

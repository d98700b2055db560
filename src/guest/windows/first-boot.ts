import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DoppelError } from "../../errors.ts";
import { packageRoot } from "../../package-root.ts";
import { accessScript, type FirstbootScript } from "./firstboot-scripts.ts";
import { refused } from "./refusals.ts";
import { dword, sz } from "./reg-file.ts";
import { controlSet } from "./storage-drivers.ts";
import type { NewFile, WindowsContext, WindowsStep } from "./windows-step.ts";

const SERVICE = "doppel-firstboot";
/** Below `%SystemRoot%`. */
const FOLDER = "doppel-firstboot";
const BUILDS: Record<string, string> = { amd64: "x86_64", x86: "i686", arm64: "x86_64" };
/** Scripts of the user that the service can run; a batch file is a command script. */
const ENDINGS = /\.(?:cmd|bat|ps1)$/i;

/** The service that runs the scripts of the other steps, then the user's, and removes itself. */
export async function planFirstboot(
  { windows, wishes }: WindowsContext,
  stepScripts: readonly FirstbootScript[],
): Promise<WindowsStep | undefined> {
  const scripts = [...stepScripts, ...wishes.firstboot.map(userScript)];
  if (scripts.length === 0) return undefined;
  const folders = [`%SystemRoot%\\${FOLDER}`, "%SystemRoot%\\Drivers"];
  scripts.unshift({ name: "access.cmd", content: accessScript(folders) });
  const { arch, systemRoot, system, systemHive } = windows;
  const service = await readService(BUILDS[arch] ?? "x86_64");
  const files: NewFile[] = [newFile(`${systemRoot}/${FOLDER}/${SERVICE}.exe`, service)];
  for (const [index, { name, content }] of scripts.entries()) {
    const number = String(index + 1).padStart(4, "0");
    files.push(newFile(`${systemRoot}/${FOLDER}/scripts/${number}-${name}`, Buffer.from(content)));
  }
  return {
    name: "firstboot",
    what: `a service runs ${scripts.map(({ name }) => name).join(", ")} on the first boot, and removes itself`,
    why: `what only a running Windows can do; the log is C:\\Windows\\${FOLDER}\\log.txt`,
    files,
    edits: [
      {
        hive: systemHive,
        edits: system.controlSets.map((set) => ({
          key: `${controlSet(set)}\\Services\\${SERVICE}`,
          set: {
            Type: dword(0x10),
            Start: dword(2),
            ErrorControl: dword(1),
            ImagePath: { type: "expand-sz", text: `%SystemRoot%\\${FOLDER}\\${SERVICE}.exe` },
            ObjectName: sz("LocalSystem"),
            DisplayName: sz("Doppel: first boot after a conversion"),
          },
        })),
      },
    ],
  };
}

function userScript({ name, content }: FirstbootScript): FirstbootScript {
  if (!ENDINGS.test(name))
    throw refused(`${name} is no script for Windows`, "--firstboot takes .cmd, .bat and .ps1");
  return { name: name.replace(/[^A-Za-z0-9._-]/g, "_").replace(/\.bat$/i, ".cmd"), content };
}

function newFile(path: string, content: Buffer): NewFile {
  return { path, bytes: content.length, content: async () => content };
}

async function readService(build: string): Promise<Buffer> {
  const path = join(packageRoot(), "native/build/windows", build, "doppel-firstboot.exe");
  try {
    return await readFile(path);
  } catch (cause) {
    throw new DoppelError("program-missing", "the service for the first boot of Windows is not built", {
      hint: "run 'make -C native'",
      cause,
    });
  }
}

import { Hive } from "./hive.ts";
import type { NewFile, WindowsContext, WindowsStep } from "./windows-step.ts";

const FALLBACK: Record<string, string> = { amd64: "bootx64.efi", x86: "bootia32.efi", arm64: "bootaa64.efi" };
/** The boot manager's own object, the element that names the default entry, and the one of graphics mode being off. */
const BOOT_MANAGER = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
const DEFAULT_OBJECT = "23000003";
const GRAPHICS_OFF = "16000046";
const GUID = /^\{[0-9a-f-]{36}\}$/i;

/** UEFI: new firmware has no entry for Windows and starts what lies at the fallback path (UEFI specification, 3.5.1.1). */
export async function planBootFiles(context: WindowsContext): Promise<WindowsStep | undefined> {
  const { esp, guestfish, arch } = context.windows;
  if (esp === undefined) return undefined;
  const files: NewFile[] = [];
  const did: string[] = [];
  const loader = await guestfish.resolveCase(`${esp}/EFI/Microsoft/Boot/bootmgfw.efi`);
  const fallback = `${esp}/EFI/Boot/${FALLBACK[arch]}`;
  if (loader !== undefined && (await guestfish.resolveCase(fallback)) === undefined) {
    const folder = (await guestfish.resolveCase(`${esp}/EFI/Boot`)) ?? `${esp}/EFI/Boot`;
    files.push({
      path: `${folder}/${FALLBACK[arch]}`,
      bytes: Number(await guestfish.run("filesize", loader)),
      content: async () => (await guestfish.read(loader)) ?? Buffer.alloc(0),
    });
    did.push(`${fallback} from ${loader}`);
  }
  const edits = await bootStoreEdits(context, esp);
  if (edits) did.push("graphics mode of the default boot entry");
  if (did.length === 0) return undefined;
  return {
    name: "boot-files",
    what: did.join("; "),
    why: "new firmware has no boot entries and starts what lies at the fallback path; without graphics mode Windows hangs there",
    files,
    ...(edits ? { edits: [edits] } : {}),
  };
}

async function bootStoreEdits({ guestfish, workFolder }: WindowsContext, esp: string) {
  const path = await guestfish.resolveCase(`${esp}/EFI/Microsoft/Boot/BCD`);
  if (path === undefined) return undefined;
  const hive = await Hive.open(guestfish, "BCD", path, workFolder);
  const entry = await hive.value(`Objects\\${BOOT_MANAGER}\\Elements\\${DEFAULT_OBJECT}`, "Element");
  if (entry?.type !== "sz" || !GUID.test(entry.text)) return undefined;
  const key = `Objects\\${entry.text}\\Elements\\${GRAPHICS_OFF}`;
  if ((await hive.tree(key)).size === 0) return undefined;
  return { hive, edits: [{ key, removeKey: true }] };
}

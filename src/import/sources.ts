import { randomBytes } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { makePrivateFolder } from "../durable-file.ts";
import { DoppelError, EXIT, wrapError } from "../errors.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { type Appliance, openOva, openOvf } from "./appliance.ts";
import { readClonezillaFolder } from "./clonezilla/folder.ts";
import { restoreDisk } from "./clonezilla/restore.ts";
import { HEAD_BYTES } from "./disk-format.ts";
import { type DiskFile, DiskSource } from "./disk-source.ts";
import type { OvfMachineEntry } from "./ovf-document.ts";
import { readHead } from "./read-head.ts";
import { isPacked, unpack } from "./unpack.ts";

export interface SourceOptions {
  /** Instead of what the content of a disk image says. */
  format?: string | undefined;
  allowExternal: boolean;
  /** Where unpacked disks lie meanwhile. */
  scratchFolder: string;
  signal?: AbortSignal | undefined;
  onStage?: ((what: string) => void) | undefined;
  /** Hears how many bytes of an appliance were checked. */
  onBytes?: ((bytes: number) => void) | undefined;
}

const MOST_DISKS = 255;

/** The disks of one machine from files of other programs' making, each offered on a socket. */
export class Sources implements AsyncDisposable {
  readonly disks: DiskSource[] = [];
  /** What an OVF descriptor says. */
  machine: OvfMachineEntry | undefined;
  readonly #options: SourceOptions;
  readonly #folder: AsyncDisposable & { path: string };
  readonly #unpacked: string[] = [];

  private constructor(options: SourceOptions, folder: AsyncDisposable & { path: string }) {
    this.#options = options;
    this.#folder = folder;
  }

  /**
   * Opens FILEs: disk images, packed ones, or one OVA, OVF or folder of Clonezilla. Throws `appliance-invalid`, `usage`, and what
   * `DiskSource.open` and `unpack` throw.
   */
  static async open(files: readonly string[], options: SourceOptions): Promise<Sources> {
    const sources = new Sources(options, await temporaryFolder("import"));
    try {
      for (const path of files.map((file) => resolve(file))) {
        const appliance = await sources.#appliance(path);
        if (appliance && files.length > 1) throw severalFiles(path);
        if (appliance) sources.machine = appliance.machine;
        const restored = appliance ? undefined : await sources.#clonezilla(path);
        if (restored && files.length > 1) throw severalFiles(path);
        for (const file of appliance?.files ?? restored ?? [await sources.#diskFile(path)])
          await sources.#add(file, restored ? "raw" : options.format);
      }
      return sources;
    } catch (error) {
      await sources[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const disk of this.disks) await disk[Symbol.asyncDispose]();
    for (const path of this.#unpacked) await rm(path, { force: true });
    await this.#folder[Symbol.asyncDispose]();
  }

  async #appliance(path: string): Promise<Appliance | undefined> {
    const found = await stat(path).catch((error: unknown) => {
      throw wrapError(error, "disk-image-invalid", `${path} cannot be opened`);
    });
    const { signal, onStage, onBytes = () => {} } = this.#options;
    if (this.#options.format !== undefined || !found.isFile()) return undefined;
    if (extname(path).toLowerCase() === ".ovf") return await openOvf(path, onBytes);
    const head = await readHead(path, HEAD_BYTES);
    // POSIX.1-1988, ustar: the mark of a tar.
    if (head.toString("latin1", 257, 262) !== "ustar") return undefined;
    onStage?.("comparing the appliance with its manifest");
    return await openOva(path, signal, onBytes);
  }

  /** The disks of a folder that Clonezilla made, restored; undefined for a file. */
  async #clonezilla(path: string): Promise<DiskFile[] | undefined> {
    if (!(await stat(path)).isDirectory()) return undefined;
    const disks = this.#options.format === undefined ? await readClonezillaFolder(path) : undefined;
    if (!disks) {
      throw new DoppelError("disk-image-invalid", `${path} is a folder, and not one of Clonezilla`, {
        hint: "name the files of its disks",
      });
    }
    const files: DiskFile[] = [];
    for (const disk of disks) {
      const target = await this.#scratchFile();
      await restoreDisk(disk, { target, signal: this.#options.signal, onStage: this.#options.onStage });
      files.push({ path: target, label: join(path, disk.name) });
    }
    return files;
  }

  async #diskFile(path: string): Promise<DiskFile> {
    const head = await readHead(path, HEAD_BYTES);
    if (this.#options.format !== undefined || !isPacked(path, head)) return { path, label: path };
    const target = await this.#scratchFile();
    await unpack(path, head, { target, signal: this.#options.signal, onStage: this.#options.onStage });
    return { path: target, label: path };
  }

  /** A name for what is unpacked. */
  async #scratchFile(): Promise<string> {
    const { scratchFolder } = this.#options;
    await makePrivateFolder(scratchFolder);
    // By this name garbage collection knows whose it is.
    const path = join(scratchFolder, `upload-${process.pid}-${randomBytes(8).toString("hex")}`);
    this.#unpacked.push(path);
    return path;
  }

  async #add(file: DiskFile, format: string | undefined): Promise<void> {
    if (this.disks.length === MOST_DISKS) {
      throw new DoppelError("usage", `a machine of more than ${MOST_DISKS} disks cannot be imported`, {
        exitCode: EXIT.usage,
      });
    }
    const { allowExternal, signal } = this.#options;
    const socketPath = join(this.#folder.path, String(this.disks.length));
    this.disks.push(await DiskSource.open(file, socketPath, { format, allowExternal, signal }));
  }
}

function severalFiles(path: string): DoppelError {
  return new DoppelError("usage", `${path} is a whole machine: it cannot be imported with other files`, {
    hint: "import it alone",
    exitCode: EXIT.usage,
  });
}

import { randomBytes } from "node:crypto";
import { posix } from "node:path";
import { DoppelError } from "../../../errors.ts";
import { askMachine } from "../../machines/remote.ts";
import type { Reachable } from "../../machines/shared-connection.ts";
import type { StagedFile } from "../staged-file.ts";
import type { NginxConfig } from "./config.ts";
import { CURRENT, type LogFile, type NginxHost, STATE, type StateFolder } from "./host.ts";

/** Runs a command on the machine and returns what it prints; throws `remote-failed` when it does not end with 0. */
type Run = (...argv: string[]) => Promise<string>;

/** Another machine that nginx runs on, over SSH: its folder and its log are there. */
export function remoteHost(
  { folder, log }: Pick<NginxConfig, "folder" | "log">,
  machine: Reachable,
): NginxHost {
  const run: Run = (...argv) => askMachine(machine, argv);
  return {
    state: remoteFolder(run, posix.resolve(folder)),
    log: log === undefined ? undefined : remoteLog(run, log),
  };
}

function remoteFolder(run: Run, folder: string): StateFolder {
  const current = posix.join(folder, CURRENT);
  /** Makes the step durable and removes the states that nothing leads to. */
  const tidy = async (present: string) => {
    await run("sync", "--", folder);
    const others = ["-mindepth", "1", "-maxdepth", "1", "-name", `${STATE}*`, "!", "-path", present];
    await run("find", folder, ...others, "-exec", "rm", "-rf", "--", "{}", "+");
  };
  return {
    async paths() {
      const found = await run("find", "-L", folder, "-mindepth", "2", "-printf", "%P\\n");
      return found
        .split("\n")
        .flatMap((path) => (path.startsWith(`${CURRENT}/`) ? [path.slice(CURRENT.length + 1)] : []));
    },

    async stage(files): Promise<StagedFile> {
      const state = await makeState(run, folder, files);
      const link = `${current}.doppel-${randomBytes(6).toString("hex")}`;
      await run("ln", "-s", "--", state, link);
      return {
        discard: async () => {
          await run("rm", "-rf", "--", link, state);
        },
        publish: async () => {
          await run("mv", "-f", "-T", "--", link, current);
          await tidy(state);
        },
      };
    },

    async clear() {
      await run("rm", "-f", "--", current);
      await tidy("");
    },
  };
}

/** nginx's workers run as another user and may look. */
async function makeState(run: Run, folder: string, files: readonly string[]): Promise<string> {
  const state = (await run("mktemp", "-d", posix.join(folder, `${STATE}XXXXXXXXXX`))).trimEnd();
  if (posix.dirname(state) !== folder) throw new DoppelError("remote-failed", `mktemp made ${state}`);
  const paths = files.map((file) => posix.join(state, file));
  const below = [...new Set(paths.map((path) => posix.dirname(path)))].filter((path) => path !== state);
  if (below.length > 0) await run("mkdir", "-p", "--", ...below);
  if (paths.length > 0) await run("touch", "--", ...paths);
  await run("chmod", "755", "--", ...below, state);
  await run("sync", "--", ...below, state);
  return state;
}

function remoteLog(run: Run, path: string): LogFile {
  return {
    async stat() {
      const [inode, sizeBytes] = (await run("stat", "-L", "-c", "%i %s", "--", path)).split(" ").map(Number);
      return { inode: inode ?? 0, sizeBytes: sizeBytes ?? 0 };
    },
    async read(offsetBytes, lengthBytes) {
      const range = [`skip=${offsetBytes}`, `count=${lengthBytes}`, "iflag=skip_bytes,count_bytes"];
      return await run("dd", `if=${path}`, ...range, "bs=64K", "status=none");
    },
  };
}

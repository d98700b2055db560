import { createHash, randomBytes } from "node:crypto";
import { DoppelError } from "../errors.ts";
import type { SshConnection } from "../ssh/connection.ts";
import type { SftpSession } from "../ssh/sftp.ts";

/** The agent's program on the source, in a directory that only we can enter. */
export interface UploadedAgent {
  path: string;
  /** Removes what is left of both; the agent has usually removed itself. Never throws. */
  remove(): Promise<void>;
}

/**
 * Uploads the agent to the first place that takes it and lets it run, and reads it back to compare checksums.
 *
 * Throws `agent-checksum` when other bytes came back, `agent-upload` when no place would do.
 */
export async function uploadAgent(
  connection: SshConnection,
  binary: Buffer,
  uid: number,
  signal?: AbortSignal,
): Promise<UploadedAgent> {
  await using sftp = await connection.sftp();
  const failures: string[] = [];
  for (const place of await candidatePlaces(sftp, uid)) {
    signal?.throwIfAborted();
    const folder = `${place}/doppel-agent-${randomBytes(8).toString("hex")}`;
    const path = `${folder}/doppel-agent`;
    try {
      await sftp.mkdir(folder, 0o700);
      await sftp.writeNew(path, binary, 0o700);
      await verify(sftp, path, binary);
      // False also on a file system mounted noexec: the kernel then denies X_OK.
      if ((await connection.run(["test", "-x", path])).code === 0) return uploaded(connection, folder, path);
      failures.push(`${place}: programs cannot run there`);
    } catch (error) {
      if (!(error instanceof DoppelError) || error.code !== "sftp-failed") throw error;
      failures.push(error.message);
    }
    await removeUpload(sftp, folder, path);
  }
  throw new DoppelError(
    "agent-upload",
    `no place on ${connection.name} takes the agent: ${failures.join("; ")}`,
    {
      hint: "it needs a directory with a few MiB free, on a file system that is not mounted noexec",
    },
  );
}

async function candidatePlaces(sftp: SftpSession, uid: number): Promise<string[]> {
  const home = await sftp.realpath(".").catch(() => undefined);
  const places = [`/run/user/${uid}`, "/tmp", "/var/tmp"];
  return home === undefined || home === "/" ? places : [...places, home];
}

async function verify(sftp: SftpSession, path: string, binary: Buffer): Promise<void> {
  const sent = createHash("sha256").update(binary).digest("hex");
  const found = await sftp.sha256(path, binary.length);
  if (found === sent) return;
  await removeUpload(sftp, path.slice(0, path.lastIndexOf("/")), path);
  throw new DoppelError(
    "agent-checksum",
    `the agent arrived damaged: sent SHA-256 ${sent}, read back ${found}`,
    {
      hint: "check the memory and disks of both machines, then try again",
    },
  );
}

function uploaded(connection: SshConnection, folder: string, path: string): UploadedAgent {
  return {
    path,
    async remove() {
      try {
        await using sftp = await connection.sftp();
        if (await sftp.exists(folder)) await removeUpload(sftp, folder, path);
      } catch {
        // The connection is gone: the agent removed its file when it started.
      }
    },
  };
}

async function removeUpload(sftp: SftpSession, folder: string, path: string): Promise<void> {
  await sftp.unlink(path).catch(() => {});
  await sftp.rmdir(folder).catch(() => {});
}

import { DoppelError, EXIT } from "../errors.ts";
import type { SshConnection } from "../ssh/connection.ts";

/** Who we are on the source, and what it is. */
export interface SourceAccount {
  /** `uname -m`. */
  machine: string;
  uid: number;
  /** What the agent's command line starts with so that it runs as root. */
  asRoot: readonly string[];
}

const MARK = "doppel-shell";

/**
 * Asks the source for its architecture and our rights there.
 *
 * Throws `no-sudo` (exit code 3) when we are not root and cannot become it without a password, and `shell-noise` when
 * the login shell prints something of its own, which would end up inside the agent's messages.
 */
export async function inspectAccount(
  connection: SshConnection,
  signal?: AbortSignal,
): Promise<SourceAccount> {
  const options = signal === undefined ? {} : { signal };
  const script = `echo ${MARK}; uname -m; id -u`;
  const { stdout, stderr } = await connection.run(["sh", "-c", script], options);
  const [mark, machine, uidText] = stdout.split("\n");
  if (mark !== MARK) throw noise(connection.name, stdout);
  const uid = Number(uidText);
  if (!machine || !uidText || !Number.isInteger(uid)) {
    throw new DoppelError("source-unknown", `${connection.name} does not tell what it is: ${stderr.trim()}`, {
      hint: "it must have sh, uname and id",
    });
  }
  if (uid === 0) return { machine, uid, asRoot: [] };
  const sudo = await connection.run(["sudo", "-n", "true"], options);
  if (sudo.code === 0) return { machine, uid, asRoot: ["sudo", "-n"] };
  const user = connection.host.user;
  const why = sudo.stderr.trim().split("\n").at(-1) ?? "";
  throw new DoppelError(
    "no-sudo",
    `${connection.name} is not root and sudo refuses without a password: ${why}`,
    {
      hint: `connect as root, or put '${user} ALL=(root) NOPASSWD: ALL' into /etc/sudoers.d/doppel there for the capture`,
      exitCode: EXIT.refused,
    },
  );
}

function noise(name: string, stdout: string): DoppelError {
  const seen = JSON.stringify(stdout.slice(0, 60));
  return new DoppelError(
    "shell-noise",
    `the login shell of ${name} prints text of its own before a command: ${seen}`,
    {
      hint: "make its start-up files (.bashrc and the like) silent when no terminal is there",
      exitCode: EXIT.refused,
    },
  );
}

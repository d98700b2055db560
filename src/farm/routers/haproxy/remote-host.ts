import { randomBytes } from "node:crypto";
import { posix } from "node:path";
import type { Duplex } from "node:stream";
import type { SshConnection } from "../../../ssh/connection.ts";
import { askMachine } from "../../machines/remote.ts";
import type { Reachable } from "../../machines/shared-connection.ts";
import { unreachable } from "../failure.ts";
import type { RouterFiles } from "../staged-file.ts";
import type { HaproxyHost } from "./router.ts";
import { hostAndPort, type RuntimeSocket, readAnswer } from "./runtime-socket.ts";

/** To log in and to be answered; a machine that is gone is seen by it. */
const ANSWER_TIMEOUT_MS = 10_000;

/** Another machine that HAProxy runs on, over SSH: its runtime socket and its map file are there. */
export function remoteHost(router: string, address: string, machine: Reachable): HaproxyHost {
  return { socket: remoteSocket(router, address, machine), files: remoteFiles(machine) };
}

function remoteSocket(router: string, address: string, machine: Reachable): RuntimeSocket {
  return {
    async ask(commands, signal) {
      const limit = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
      const until = signal ? AbortSignal.any([signal, limit]) : limit;
      let stream: Duplex | undefined;
      const stop = () => stream?.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`));
      until.addEventListener("abort", stop, { once: true });
      try {
        const connection = await machine.connect(until);
        stream = await open(connection, address);
        // A channel does not hear that its connection was cut.
        void connection.ended.then(() => stream?.destroy(connection.lost()));
        until.throwIfAborted();
        stream.write(`${commands}\n`);
        return await readAnswer(stream, router);
      } catch (error) {
        signal?.throwIfAborted();
        throw unreachable(router, `${address} on ${machine.name}`, error);
      } finally {
        until.removeEventListener("abort", stop);
        stream?.destroy();
      }
    },
  };
}

function open(connection: SshConnection, address: string): Promise<Duplex> {
  if (address.startsWith("/")) return connection.forwardToSocket(address);
  const { host, port } = hostAndPort(address);
  return connection.forward(host, port);
}

function remoteFiles(machine: Reachable): RouterFiles {
  const run = (argv: readonly string[], input?: string) => askMachine(machine, argv, input);
  return {
    read: async (path) => await run(["cat", "--", path]),

    async stage(path, content) {
      const target = (await run(["readlink", "-e", "--", path])).trimEnd();
      const temporary = `${target}.doppel-${randomBytes(6).toString("hex")}`;
      const discard = async () => {
        await run(["rm", "-f", "--", temporary]);
      };
      try {
        // The copy brings owner and mode; then it is given the new content, which is on its disk before it is published.
        await run(["cp", "--preserve=mode,ownership", "--", target, temporary]);
        await run(["dd", `of=${temporary}`, "conv=fsync", "status=none"], content);
      } catch (error) {
        await discard().catch(() => {});
        throw error;
      }
      return {
        discard,
        async publish() {
          await run(["mv", "-f", "-T", "--", temporary, target]);
          await run(["sync", "--", posix.dirname(target)]);
        },
      };
    },
  };
}

import type { ReadinessCheck } from "../file/checks.ts";
import { runRemote } from "../machines/remote.ts";
import type { Shadow } from "../machines/shadow.ts";
import { fromInside } from "./dial.ts";
import { ask, judgeAnswer } from "./http.ts";
import { judgeOutput } from "./judge.ts";
import { looked, type Outcome } from "./outcome.ts";

/** A check that needs nothing but the shadow: its own service, a port, a command inside. */
export async function checkShadow(
  check: ReadinessCheck,
  shadow: Shadow,
  signal: AbortSignal,
): Promise<Outcome> {
  return await looked(check.timeout, signal, async (limit) => {
    if (check.kind === "command")
      return judgeOutput(
        await runRemote(await shadow.connect(limit), check.run, check.timeout, limit),
        check,
      );
    const host = await shadow.requireAddress();
    const port = check.port ?? shadow.servicePort;
    if (check.kind === "tcp") return await reaches(shadow, check.host ?? host, port, limit);
    const url = new URL(check.path, `http://${host.includes(":") ? `[${host}]` : host}:${port}`);
    const wanted = { url, connect: { host, port }, ...(check.headers ? { headers: check.headers } : {}) };
    const { status, contains } = check;
    const answer = await ask(fromInside(shadow), wanted, limit);
    return judgeAnswer(answer, { status, ...(contains === undefined ? {} : { contains }) });
  });
}

/** Whether a TCP connection from inside the shadow comes about. */
export async function reaches(shadow: Shadow, host: string, port: number, signal: AbortSignal) {
  const socket = await fromInside(shadow)(host, port, signal);
  socket.destroy();
  return { passed: true, message: `connected to ${host} port ${port}` };
}

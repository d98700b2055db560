import { readFile } from "node:fs/promises";
import { DoppelError, wrapError } from "../../errors.ts";
import { runProgram } from "../../run-program.ts";

/** Where a secret is. The secret itself is in no file of ours, on no command line and in no message. */
export type SecretReference = { env: string } | { file: string } | { command: readonly string[] };

const COMMAND_TIMEOUT_MS = 30_000;

/** Fetches a secret; throws `secret-missing` when it is not there or empty. A newline at its end does not belong to it. */
export async function readSecret(reference: SecretReference, signal?: AbortSignal): Promise<string> {
  const secret = (await fetchSecret(reference, signal)).replace(/\r?\n$/, "");
  if (secret !== "") return secret;
  throw new DoppelError(
    "secret-missing",
    `the secret of ${describeSecret(reference)} is empty or not there`,
    {
      hint: "set the variable, write the file, or try the command by hand",
    },
  );
}

/** A reference for messages: never the secret. */
export function describeSecret(reference: SecretReference): string {
  if ("env" in reference) return `the variable ${reference.env}`;
  return "file" in reference ? `the file ${reference.file}` : `the command ${reference.command[0] ?? ""}`;
}

async function fetchSecret(reference: SecretReference, signal?: AbortSignal): Promise<string> {
  if ("env" in reference) return process.env[reference.env] ?? "";
  try {
    if ("file" in reference) return await readFile(reference.file, "utf8");
    const [program = "", ...args] = reference.command;
    const options = { timeoutMs: COMMAND_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) };
    return (await runProgram(program, args, options)).stdout;
  } catch (error) {
    throw wrapError(error, "secret-missing", `the secret of ${describeSecret(reference)} cannot be read`);
  }
}

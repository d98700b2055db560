import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { DoppelError, systemErrorCode } from "../errors.ts";
import { parseJson } from "../parse-json.ts";
import { runProgram } from "../run-program.ts";

/** What proves who we are. Never logged, never on a command line. */
export type Credentials = { username: string; password: string } | { identityToken: string };

const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** A helper says by this user name that its secret is an identity token. */
const TOKEN_USER = "<token>";

const configSchema = z.looseObject({
  auths: z
    .record(z.string(), z.looseObject({ auth: z.string().optional(), identitytoken: z.string().optional() }))
    .optional(),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
});
type DockerConfig = z.infer<typeof configSchema>;

const helperSchema = z.looseObject({ Username: z.string(), Secret: z.string() });

/**
 * The credentials for a registry (`host[:port]`) that `docker login`, `podman login` or `skopeo login` left in
 * $DOCKER_CONFIG/config.json, else ~/.docker/config.json: a helper for this registry, what is written there, or the
 * helper for all. Undefined when there are none.
 */
export async function findCredentials(host: string): Promise<Credentials | undefined> {
  const config = await readDockerConfig();
  if (!config) return undefined;
  const ownHelper = config.credHelpers?.[host];
  if (ownHelper !== undefined) return await askHelper(ownHelper, host);
  const entry = config.auths?.[host] ?? config.auths?.[`https://${host}`];
  if (entry?.identitytoken) return { identityToken: entry.identitytoken };
  if (entry?.auth) return decodeBasic(entry.auth, host);
  return config.credsStore === undefined ? undefined : await askHelper(config.credsStore, host);
}

async function readDockerConfig(): Promise<DockerConfig | undefined> {
  const path = join(process.env.DOCKER_CONFIG || join(homedir(), ".docker"), "config.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const config = configSchema.safeParse(parseJson(text));
  if (config.success) return config.data;
  // The parser's own message would quote what is in the file.
  throw new DoppelError("docker-config-invalid", `${path} is not a docker configuration`, {
    hint: "log in again with 'skopeo login' or 'docker login', or move the file away",
  });
}

function decodeBasic(auth: string, host: string): Credentials {
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon > 0) return { username: text.slice(0, colon), password: text.slice(colon + 1) };
  throw new DoppelError(
    "docker-config-invalid",
    `the entry for ${host} in docker's config.json is not valid`,
    {
      hint: `log in again: skopeo login ${host}`,
    },
  );
}

/** Docker's credential helper protocol: the registry on standard input, one JSON document on standard output. */
async function askHelper(name: string, host: string): Promise<Credentials | undefined> {
  if (!HELPER_NAME.test(name)) {
    throw new DoppelError(
      "docker-config-invalid",
      "docker's config.json names a credential helper that cannot be one",
    );
  }
  const program = `docker-credential-${name}`;
  const { stdout, exitCode } = await runProgram(program, ["get"], { input: host, allowFailure: true });
  // A helper that has nothing for a registry fails with these words, on its standard output.
  if (exitCode !== 0 && stdout.includes("credentials not found")) return undefined;
  const answer = helperSchema.safeParse(exitCode === 0 ? parseJson(stdout) : undefined);
  if (!answer.success) {
    throw new DoppelError("credential-helper-failed", `${program} has no valid answer for ${host}`, {
      hint: `try it: echo ${host} | ${program} get`,
    });
  }
  const { Username, Secret } = answer.data;
  return Username === TOKEN_USER ? { identityToken: Secret } : { username: Username, password: Secret };
}

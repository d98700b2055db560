import { randomBytes } from "node:crypto";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runProgram } from "../run-program.ts";
import { type HostKey, makeHostKey } from "./host-key.ts";

/** What a guest with cloud-init is told at its first start (cloud-init, "NoCloud"). */
export interface SeedContent {
  hostname: string;
  /** The user's, byte for byte. */
  userData: Buffer;
  networkConfig?: Buffer;
}

export interface Seed {
  /** The ISO's path. */
  path: string;
  /** The public key that the guest's sshd will show: ours to pin, since we made it. */
  hostKey: string;
}

/**
 * Writes the seed as an ISO with the label `cidata`. A new SSH host key goes with it as vendor-data, which cloud-init puts
 * below the user's own user-data: the guest is known from its first moment, and no key is believed at first sight.
 */
export async function makeSeed(folder: string, content: SeedContent): Promise<Seed> {
  const keys = makeHostKey(content.hostname);
  const files = join(folder, "seed");
  const path = join(folder, "seed.iso");
  await mkdir(files, { mode: 0o700 });
  try {
    const write = (name: string, text: Buffer | string) =>
      writeFile(join(files, name), text, { mode: 0o600 });
    await write("user-data", content.userData);
    await write("meta-data", metaData(content.hostname));
    await write("vendor-data", vendorData(keys));
    if (content.networkConfig) await write("network-config", content.networkConfig);
    await runProgram("xorriso", [
      ...[
        "-as",
        "mkisofs",
        "-quiet",
        "-volid",
        "cidata",
        "-joliet",
        "-rational-rock",
        "-output",
        path,
        files,
      ],
    ]);
  } finally {
    await rm(files, { recursive: true, force: true });
  }
  return { path, hostKey: keys.public.split(" ").slice(0, 2).join(" ") };
}

/** JSON is YAML. A new instance-id makes cloud-init take the machine for a new one. */
function metaData(hostname: string): string {
  const instance = `${hostname}-${randomBytes(6).toString("hex")}`;
  return `${JSON.stringify({ "instance-id": instance, "local-hostname": hostname })}\n`;
}

/** cloud-init's module `ssh`: keys given here are the only ones that the guest has. */
function vendorData(keys: HostKey): string {
  const config = {
    ssh_deletekeys: true,
    ssh_keys: { ed25519_private: keys.private, ed25519_public: keys.public },
  };
  return `#cloud-config\n${JSON.stringify(config, undefined, 2)}\n`;
}

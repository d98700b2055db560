import ssh2 from "ssh2";

export interface HostKey {
  /** In OpenSSH's own format. */
  private: string;
  /** `ssh-ed25519 AAAA… COMMENT`. */
  public: string;
}

const PROBE = Buffer.from("signed and verified");

/** A new SSH host key, Ed25519. */
export function makeHostKey(comment: string): HostKey {
  for (;;) {
    const keys = ssh2.utils.generateKeyPairSync("ed25519", { comment });
    if (isWhole(keys)) return keys;
  }
}

/** ssh2 cuts zeros off the beginning of either half, of one key in 128; no sshd loads such a one. */
function isWhole(keys: HostKey): boolean {
  const [own, known] = [ssh2.utils.parseKey(keys.private), ssh2.utils.parseKey(keys.public)];
  if (own instanceof Error || known instanceof Error) return false;
  try {
    return known.verify(PROBE, own.sign(PROBE)) === true;
  } catch {
    return false;
  }
}

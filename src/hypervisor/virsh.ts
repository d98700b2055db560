import { DoppelError } from "../errors.ts";
import { type RunResult, runProgram } from "../run-program.ts";

/** `running`, `shut off`, … as virsh says, or `missing` for a domain that libvirt does not know. */
export type DomainState = string;

/** libvirt asks each QEMU what it can do when it meets it first, which may take over a minute without KVM. */
const VIRSH_MS = 240_000;

/** The libvirt of one connection URI, through `virsh`. */
export class Virsh {
  readonly uri: string;

  constructor(uri: string) {
    this.uri = uri;
  }

  /** `qemu:///system` for root, `qemu:///session` for others. */
  static defaultUri(): string {
    return process.getuid?.() === 0 ? "qemu:///system" : "qemu:///session";
  }

  /** Runs a virsh command; `libvirt-unreachable` when there is no libvirt to talk to. */
  async run(
    args: string[],
    options: { allowFailure?: boolean; timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<RunResult> {
    const result = await runProgram("virsh", ["-q", "-c", this.uri, ...args], {
      allowFailure: true,
      timeoutMs: options.timeoutMs ?? VIRSH_MS,
      env: { LC_ALL: "C" },
      ...(options.signal ? { signal: options.signal } : {}),
    });
    if (result.exitCode === 0 || options.allowFailure) return result;
    const why = result.stderr.trim().split("\n").join("; ");
    if (/failed to connect|Failed to connect/.test(why)) {
      throw new DoppelError("libvirt-unreachable", `libvirt does not answer at ${this.uri}: ${why}`, {
        hint: "run 'doppel doctor' to see what is missing",
      });
    }
    throw new DoppelError("libvirt-failed", `virsh ${args[0]} failed: ${why}`);
  }

  async state(domain: string): Promise<DomainState> {
    const result = await this.run(["domstate", domain], { allowFailure: true });
    if (result.exitCode === 0) return result.stdout.trim();
    if (/failed to get domain|Domain not found/i.test(result.stderr)) return "missing";
    await this.run(["domstate", domain]);
    return "missing";
  }

  /** The machine type that an alias such as `q35` stands for now, so that a domain keeps it: `pc-q35-7.2`. */
  async expandMachine(alias: string, type: "kvm" | "qemu"): Promise<string> {
    const { stdout } = await this.run(["domcapabilities", "--machine", alias, "--virttype", type]);
    return /<machine>([^<]+)<\/machine>/.exec(stdout)?.[1] ?? alias;
  }

  async isNetworkActive(network: string): Promise<boolean> {
    const { stdout, exitCode } = await this.run(["net-info", network], { allowFailure: true });
    return exitCode === 0 && /^Active:\s+yes/m.test(stdout);
  }

  /** True when its domains run on this machine, so that files and free memory here are theirs. */
  get isLocal(): boolean {
    return /^[a-z]+(\+unix)?:\/\/\//.test(this.uri);
  }

  /** IPv4 addresses that a running domain has taken from libvirt's DHCP, or else that its guest agent tells. */
  async addresses(domain: string): Promise<string[]> {
    for (const source of ["lease", "agent"]) {
      const { stdout } = await this.run(["domifaddr", domain, "--source", source], { allowFailure: true });
      const found = [...stdout.matchAll(/ipv4\s+([0-9.]+)\//g)].map((match) => match[1] ?? "");
      const reachable = found.filter((address) => !address.startsWith("127."));
      if (reachable.length > 0) return reachable;
    }
    return [];
  }
}

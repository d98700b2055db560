import { open } from "node:fs/promises";
import { createConnection } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { takeScreenshot } from "../hypervisor/screenshot.ts";
import type { Virsh } from "../hypervisor/virsh.ts";
import { BOOT_STAGES, type BootStage, readConsole } from "./boot-stages.ts";

export interface PassedStage {
  stage: BootStage;
  /** Seconds since the start, or null of a stage that was passed unseen. */
  seconds: number | null;
  what: string;
}

export interface BootObservation {
  stages: PassedStage[];
  addresses: string[];
  openPorts: number[];
  /** Why it goes no further; undefined when it has come up, or when the time was over. */
  deadEnd: string | undefined;
  log: Buffer;
  screenshot: Buffer | undefined;
}

export interface WatchOptions {
  domain: string;
  consoleLog: string;
  folder: string;
  timeoutMs: number;
  /** TCP ports that are tried. */
  ports: readonly number[];
  /** Those of them that are waited for, as long as the time lasts. */
  requiredPorts: readonly number[];
  signal?: AbortSignal;
  onStage?: (stage: PassedStage) => void;
}

const ROUND_MS = 1000;
/** How long services may take once the network is up. */
const SERVICES_MS = 30_000;
const CONNECT_MS = 700;
/** Of a longer log the end is read. */
const MOST_LOG_BYTES = 8 * 1024 * 1024;

/** Watches a domain start: its serial console, its addresses, its ports. Ends when it is up, is stuck, or time is over. */
export async function watchBoot(virsh: Virsh, options: WatchOptions): Promise<BootObservation> {
  const watch = new Watch(virsh, options);
  while (!(await watch.round())) {
    options.signal?.throwIfAborted();
    await sleep(ROUND_MS);
  }
  return await watch.result();
}

class Watch {
  readonly #virsh: Virsh;
  readonly #options: WatchOptions;
  readonly #started = performance.now();
  readonly #passed = new Map<BootStage, PassedStage>();
  readonly #openPorts = new Set<number>();
  #addresses: string[] = [];
  #deadEnd: string | undefined;
  #networkSince: number | undefined;

  constructor(virsh: Virsh, options: WatchOptions) {
    this.#virsh = virsh;
    this.#options = options;
  }

  /** Looks once; true when there is nothing more to wait for. */
  async round(): Promise<boolean> {
    const elapsedMs = performance.now() - this.#started;
    const { seen, deadEnd } = readConsole((await this.#readLog()).toString("latin1"));
    for (const { stage, what } of seen) this.#pass(stage, what);
    this.#deadEnd = deadEnd;
    if (deadEnd !== undefined) return true;
    await this.#lookAtNetwork();
    if (this.#networkSince !== undefined && this.#servicesAnswer()) return true;
    const state = await this.#virsh.state(this.#options.domain);
    if (state !== "running" && state !== "in shutdown") {
      this.#deadEnd = `the machine is ${state}`;
      return true;
    }
    return elapsedMs > this.#options.timeoutMs;
  }

  async result(): Promise<BootObservation> {
    const { domain, folder } = this.#options;
    const log = await this.#readLog();
    // A machine that has switched itself off has no screen.
    const screenshot = await takeScreenshot(this.#virsh, domain, folder).catch(() => undefined);
    return {
      stages: BOOT_STAGES.flatMap((stage) => this.#passed.get(stage) ?? []),
      addresses: this.#addresses,
      openPorts: [...this.#openPorts].sort((a, b) => a - b),
      deadEnd: this.#deadEnd,
      log,
      screenshot,
    };
  }

  /** Whether all that must answer does; where nothing must, whether anything does, or has had the time to. */
  #servicesAnswer(): boolean {
    const { requiredPorts } = this.#options;
    if (requiredPorts.length > 0) return requiredPorts.every((port) => this.#openPorts.has(port));
    return this.#openPorts.size > 0 || performance.now() - (this.#networkSince ?? 0) > SERVICES_MS;
  }

  async #lookAtNetwork(): Promise<void> {
    const { domain, ports } = this.#options;
    this.#addresses = await this.#virsh.addresses(domain);
    if (this.#addresses.length === 0) return;
    this.#networkSince ??= performance.now();
    this.#pass("network", `${this.#addresses.join(", ")} by DHCP`);
    const tries = this.#addresses.flatMap((address) => ports.map((port) => ({ address, port })));
    await Promise.all(
      tries.map(async ({ address, port }) => {
        if (await isOpen(address, port)) this.#openPorts.add(port);
      }),
    );
  }

  #pass(stage: BootStage, what: string): void {
    if (this.#passed.has(stage)) return;
    const seconds = Math.round((performance.now() - this.#started) / 100) / 10;
    const passed = { stage, seconds, what };
    for (const earlier of BOOT_STAGES.slice(0, BOOT_STAGES.indexOf(stage)))
      if (!this.#passed.has(earlier))
        this.#passed.set(earlier, { stage: earlier, seconds: null, what: "not seen" });
    this.#passed.set(stage, passed);
    this.#options.onStage?.(passed);
  }

  async #readLog(): Promise<Buffer> {
    const file = await open(this.#options.consoleLog, "r").catch(() => undefined);
    if (!file) return Buffer.alloc(0);
    try {
      const { size } = await file.stat();
      const length = Math.min(size, MOST_LOG_BYTES);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }
}

function isOpen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    const end = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.setTimeout(CONNECT_MS, () => end(false));
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}

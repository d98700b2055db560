import type { ClientChannel } from "ssh2";

/** What ssh2 grants a channel at most, not configurable: 2 MiB, so 40 MB/s over a path of 50 ms. */
const GRANTED_BY_SSH2 = 2 * 1024 * 1024;
/** Keeps a path of 1 Gbit/s and 100 ms full; also what a reader that stops has to buffer. */
const WINDOW_BYTES = 16 * 1024 * 1024;
const EXTRA = WINDOW_BYTES - GRANTED_BY_SSH2;

/** The members of ssh2 1.17's channels that this relies on; they are not in its declarations. */
interface Internals {
  incoming: { window: number };
  outgoing: { id: number };
  _client: { _protocol: { channelWindowAdjust(channel: number, bytes: number): void } };
}

/**
 * Lets the other side send 16 MiB ahead on a channel (RFC 4254, section 5.2).
 *
 * The extra is granted once, and ssh2's own account is kept that much lower than the true one: it goes on refilling
 * to its 2 MiB, and the true window stays `EXTRA` above. ssh2 drops data when its account is exactly zero, which the
 * lower account may pass through at any time: it is never shown a zero.
 */
export function widenWindow(channel: ClientChannel): void {
  const { incoming, outgoing, _client } = channel as unknown as Internals;
  let trueWindow = incoming.window + EXTRA;
  let shown = incoming.window;
  Object.defineProperty(incoming, "window", {
    get: () => {
      shown = trueWindow - EXTRA;
      // One byte too few shown is refilled as one byte more, and counted below.
      if (shown === 0) shown = -1;
      return shown;
    },
    set: (value: number) => {
      trueWindow += value - shown;
      shown = value;
    },
  });
  _client._protocol.channelWindowAdjust(outgoing.id, EXTRA);
}

import { describe, expect, it } from "vitest";
import { lacks } from "../../../../src/farm/gates/room.ts";

const GIB = 1024 ** 3;

describe("the room of a host", () => {
  it.each([
    [8, 0, 8, undefined],
    [8, 0, 9, "9.0 GiB of memory are wanted, 8.0 GiB are free"],
    [8, 2, 6, undefined],
    [
      8,
      2,
      7,
      "7.0 GiB of memory are wanted, 8.0 GiB are free, of which 2.0 GiB are promised to machines that run",
    ],
    [
      8,
      9,
      1,
      "1.0 GiB of memory are wanted, 8.0 GiB are free, of which 9.0 GiB are promised to machines that run",
    ],
  ])("of %d GiB free and %d promised, for %d wanted: %s", (free, promised, wanted, reason) => {
    const room = { freeBytes: free * GIB, promisedBytes: promised * GIB, wantedBytes: wanted * GIB };
    expect(lacks(room, "memory")).toBe(reason);
  });
});

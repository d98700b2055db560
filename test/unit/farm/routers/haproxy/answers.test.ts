import { describe, expect, it } from "vitest";
import {
  expectSilence,
  parseInfo,
  parseMap,
  parsePrepared,
  parseStat,
} from "../../../../../src/farm/routers/haproxy/answers.ts";

const info = (version: string, more = "") =>
  `Name: HAProxy\nVersion: ${version}\nPid: 12\nStart_time_sec: 5\n${more}\n`;

describe("HAProxy's answers", () => {
  it("name the worker", () => {
    expect(parseInfo("h", info("2.6.12-1+deb12u4"))).toEqual({
      pid: 12,
      version: "2.6.12-1+deb12u4",
      generation: "12-5",
    });
  });

  it("of versions whose lookups are not safe beside a prepared map are refused", () => {
    for (const version of ["2.6.3", "2.5.9", "2.4.19", "2.7-dev3", "2.8.0", "3.0.5-1", "2.10.1"]) {
      expect(parseInfo("h", info(version)).version).toBe(version);
    }
    for (const version of ["2.6.2", "2.5.8", "2.4.18", "2.3.20", "1.8.30", "2.6-dev1"]) {
      expect(() => parseInfo("h", info(version))).toThrow(
        expect.objectContaining({ code: "router-too-old", exitCode: 3 }),
      );
    }
  });

  it("of several processes are refused: each has a map of its own", () => {
    expect(() => parseInfo("h", info("2.4.22", "Nbproc: 4\n"))).toThrow(
      expect.objectContaining({ code: "router-many-processes" }),
    );
  });

  it("that are none are told", () => {
    const answer = expect.objectContaining({ code: "router-answer" });
    expect(() => parseInfo("h", "Unknown command: 'show'")).toThrow(answer);
    expect(() => parsePrepared("h", "hello")).toThrow(answer);
    expect(() => parseMap("h", "m", "hello\n")).toThrow(answer);
    expect(() => parseStat("h", "hello\n")).toThrow(answer);
    expect(() => expectSilence("h", "commit map", "Version number out of range.\n")).toThrow(
      "h: 'commit map' was answered with 'Version number out of range.'",
    );
    expect(() => expectSilence("h", "add map", "Permission denied\n\n")).toThrow(
      expect.objectContaining({ code: "router-not-admin" }),
    );
  });

  it("keep values with spaces", () => {
    expect(parseMap("h", "m", "0x55 a b c\n0x56 d \n\n")).toEqual([
      { key: "a", value: "b c" },
      { key: "d", value: "" },
    ]);
  });
});

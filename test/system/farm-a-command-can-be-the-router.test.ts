import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import {
  AFTER_SWITCH,
  BEFORE_SWITCH,
  canaryRouting,
  changeRouting,
  openRouter,
  routerConfig,
} from "../../src/farm/routers/index.ts";
import { packageRoot } from "../../src/package-root.ts";

const SITE = { live: "www.example.org", shadow: "next.example.org" };
const CHANGE = { from: BEFORE_SWITCH, to: AFTER_SWITCH, settleMs: 100, repairMs: 100 };

describe("a router behind a command", () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-router-command-"));
  const file = join(folder, "state.json");
  const program = join(packageRoot(), "fixtures/farm/router-command.js");
  const open = (command = [process.execPath, program, file], timeoutMs = 20_000) =>
    openRouter(routerConfig.parse({ kind: "command", command, timeoutMs }), SITE);
  const say = (more: object) => writeFileSync(file, JSON.stringify({ routing: BEFORE_SWITCH, ...more }));

  const log = () => JSON.parse(readFileSync(file, "utf8")).log;

  beforeEach(() => say({}));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("is switched and taken back", async () => {
    const router = await open();
    await changeRouting([router], CHANGE);
    expect(await router.probe()).toMatchObject({
      runtime: AFTER_SWITCH,
      persisted: AFTER_SWITCH,
      agree: true,
    });
    await changeRouting([router], { ...CHANGE, from: AFTER_SWITCH, to: BEFORE_SWITCH });
    expect(await router.probe()).toMatchObject({ runtime: BEFORE_SWITCH });
    expect(log()).toEqual(["switch", "undo"]);
    expect(await router.statistics()).toMatchObject({
      generation: "1",
      sides: { new: { requests: 10, errors: 1 } },
    });
  });

  it("is left alone when its command refuses", async () => {
    say({ fails: { check: 3 } });
    const refusal = changeRouting([await open()], CHANGE);
    await expect(refusal).rejects.toMatchObject({ code: "router-refused", exitCode: 3 });
    await expect(refusal).rejects.toThrow("refuses to check: the router said no to check");
    expect(log()).toBeUndefined();
  });

  it("is brought back when the switch fails", async () => {
    say({ fails: { switch: 1 } });
    await expect(changeRouting([await open()], CHANGE)).rejects.toMatchObject({ code: "routers-put-back" });
    expect(JSON.parse(readFileSync(file, "utf8")).routing).toEqual(BEFORE_SWITCH);
  });

  it("is not believed when it did nothing, or breaks the contract", async () => {
    say({ prints: { probe: '{"runtime": {"live": "old", "shadow": "new"}, "abilities": []}' } });
    await expect((await open()).reconcile(AFTER_SWITCH, 100)).rejects.toMatchObject({
      code: "router-unsettled",
    });
    await expect((await open()).prepare(canaryRouting(5))).rejects.toMatchObject({ code: "router-cannot" });
    say({ prints: { probe: '{"runtime": {"live": "blue"}}' } });
    await expect(open()).rejects.toThrow("runtime.live: old, new, none or other:NAME");
    say({ prints: { probe: "hello" } });
    await expect(open()).rejects.toMatchObject({ code: "router-command" });
    await expect(open(["/nonexistent/program"])).rejects.toMatchObject({ code: "program-missing" });
    await expect(open(["/bin/sleep", "9"], 200)).rejects.toMatchObject({ code: "router-command" });
  });

  it("is stopped when it takes too long", async () => {
    await expect(open([process.execPath, "-e", "setTimeout(() => {}, 9000)"], 200)).rejects.toMatchObject({
      code: "program-timeout",
    });
  });
});

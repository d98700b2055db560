import { expect, it, vi } from "vitest";
import { DoppelError } from "../../../../src/errors.ts";
import type { Step } from "../../../../src/farm/engine/step.ts";
import type { Farm } from "../../../../src/farm/file/load.ts";
import { runFlow } from "../../../../src/farm/flows/run-flow.ts";
import { FarmLease } from "../../../../src/farm/journal/lease.ts";
import { TestCatalog } from "../catalog.ts";

const FARM = { path: "/farm.yaml", digest: "sha256:0" } as Farm;

it("a disk that is full when a step fails does not hide why it failed", async () => {
  using test = new TestCatalog();
  using lease = FarmLease.take(test.journal);
  const step: Step = {
    id: "switch/watch",
    title: "watch the new version",
    inputs: null,
    undoes: "nothing",
    probe: async () => ({ state: "absent" }),
    run: async () => {
      vi.spyOn(lease, "append").mockImplementation(() => {
        throw new DoppelError("ENOSPC", "no space left for the catalog");
      });
      throw new DoppelError("switched-back", "the new version failed");
    },
  };
  const stages = [{ title: "watch", lanes: [[step]] }];
  const flow = { name: "switch", direction: "do" as const, arguments: {}, stages, gates: [] };
  const run = runFlow(FARM, flow, lease, { parallel: 1, signal: new AbortController().signal });
  await expect(run).rejects.toMatchObject({ code: "switched-back" });
});

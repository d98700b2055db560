import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { reversed, type Stage, type Step } from "../../../../src/farm/engine/step.ts";
import type { Farm } from "../../../../src/farm/file/load.ts";
import { runFlow } from "../../../../src/farm/flows/run-flow.ts";
import { FarmLease } from "../../../../src/farm/journal/lease.ts";
import { foldJournal, unfinishedRun } from "../../../../src/farm/journal/state.ts";
import { TestCatalog } from "../catalog.ts";

const FARM = { path: "/farm.yaml", digest: "sha256:0" } as Farm;

class Killed extends Error {}

/** A world of switches that are off, half on or on; it dies at a chosen moment, before or within an effect. */
class World {
  readonly switches = new Map<string, "half" | "on">();
  readonly effects: string[] = [];
  #moments = 0;
  #killAt = Number.POSITIVE_INFINITY;

  /** A new process, which dies at the given moment. */
  start(killAt: number): void {
    this.#moments = 0;
    this.#killAt = killAt;
  }

  moment(): void {
    if (this.#moments++ >= this.#killAt) throw new Killed();
  }

  step(id: string): Step {
    return {
      id,
      title: id,
      inputs: { id },
      undoes: `turns ${id} off`,
      probe: async () => {
        this.moment();
        const state = this.switches.get(id);
        if (state === "on") return { state: "done", result: id };
        return state === "half" ? { state: "partial", why: "half on" } : { state: "absent" };
      },
      run: async () => {
        this.moment();
        this.switches.set(id, "half");
        this.moment();
        this.switches.set(id, "on");
        this.effects.push(`on ${id}`);
        this.moment();
        return id;
      },
      undo: async () => {
        this.moment();
        this.switches.set(id, "half");
        this.moment();
        this.switches.delete(id);
        this.effects.push(`off ${id}`);
        this.moment();
      },
    };
  }
}

/** A process that dies writes nothing any more: its lease's `append` fails from then on. */
function mortal(lease: FarmLease, world: World): FarmLease {
  return new Proxy(lease, {
    get(target, member) {
      if (member === "append")
        return (event: Parameters<FarmLease["append"]>[0]) => {
          world.moment();
          const entry = target.append(event);
          world.moment();
          return entry;
        };
      const value = Reflect.get(target, member, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function run(
  test: TestCatalog,
  world: World,
  stages: Stage[],
  direction: "do" | "undo",
): Promise<void> {
  using lease = FarmLease.take(test.journal);
  const unfinished = unfinishedRun(foldJournal(test.journal.entries()));
  const flow = { name: direction, direction, arguments: {}, stages, gates: [] };
  await runFlow(FARM, flow, mortal(lease, world), {
    parallel: 3,
    signal: new AbortController().signal,
    ...(unfinished ? { resumes: unfinished.run } : {}),
  });
}

const shape = fc.array(fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }), {
  minLength: 1,
  maxLength: 3,
});

function stagesOf(world: World, lengths: number[][]): Stage[] {
  return lengths.map((lanes, stage) => ({
    title: `stage ${stage}`,
    lanes: lanes.map((length, lane) =>
      Array.from({ length }, (_, index) => world.step(`${stage}/${lane}/${index}`)),
    ),
  }));
}

const idsOf = (stages: Stage[]) => stages.flatMap(({ lanes }) => lanes.flat().map(({ id }) => id));

describe("a run that is killed", () => {
  it.each(["do", "undo"] as const)(
    "at any moment of `%s` is brought to its end by a resume",
    async (direction) => {
      await fc.assert(
        fc.asyncProperty(shape, fc.array(fc.nat(60), { maxLength: 3 }), async (lengths, kills) => {
          using test = new TestCatalog();
          const world = new World();
          const forward = stagesOf(world, lengths);
          const stages = direction === "do" ? forward : reversed(forward);
          if (direction === "undo") for (const id of idsOf(forward)) world.switches.set(id, "on");
          for (const kill of kills) {
            world.start(kill);
            await run(test, world, stages, direction).catch((error: unknown) => {
              if (!(error instanceof Killed)) throw error;
            });
          }
          world.start(Number.POSITIVE_INFINITY);
          await run(test, world, stages, direction);
          const expected = direction === "do" ? idsOf(forward).map((id) => [id, "on"]) : [];
          expect([...world.switches].sort()).toEqual(expected.sort());
          // Done once: what a probe finds is not done again.
          expect(new Set(world.effects).size).toBe(world.effects.length);
          expect(test.journal.verify().findings).toEqual([]);
          const state = foldJournal(test.journal.entries());
          expect(unfinishedRun(state)).toBeUndefined();
          expect(state.steps.map(({ state }) => state)).toEqual(
            idsOf(forward).map(() => (direction === "do" ? "done" : "undone")),
          );
        }),
        { numRuns: 30 },
      );
    },
  );
});

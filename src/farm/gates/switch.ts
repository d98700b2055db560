import type { FarmContext } from "../context.ts";
import { runRemote } from "../machines/remote.ts";
import { evidenceGate } from "./evidence.ts";
import type { Gate } from "./gate.ts";
import { verdict } from "./verdict.ts";

/** What must be so before users get the new version. */
export function switchGates(context: FarmContext): Gate[] {
  const { farm, journal } = context;
  return [
    evidenceGate(farm, journal, () => new Date()),
    routersGate(context),
    ...farm.spec.databases.flatMap((database) =>
      database.engine !== "commands" && database.point
        ? [pointedGate(context, database.name, database.point)]
        : [],
    ),
    ...(farm.spec.off.length > 0 ? [handOverGate(context)] : []),
  ];
}

/** The routers answer, and can do what the file asks of them. */
function routersGate({ routers, farm }: FarmContext): Gate {
  const { watch, canary } = farm.spec.switch;
  return {
    id: "routers",
    title: "the routers answer and can be watched",
    look: async (signal) => {
      const open = await routers.open();
      const states = await Promise.all(open.map((router) => router.probe(signal)));
      const silent = states.flatMap(({ router, runtime, problems }) =>
        runtime ? [] : [`${router}: ${problems[0]?.message ?? "it does not answer"}`],
      );
      const blind = watch === 0 ? [] : open.filter(({ abilities }) => !abilities.has("statistics"));
      const whole = canary === undefined ? [] : open.filter(({ abilities }) => !abilities.has("canary"));
      return verdict("all answer", [
        ...silent,
        ...blind.map(({ name }) => `${name} tells no statistics: docs/routers.md, or switch.watch: 0s`),
        ...whole.map(({ name }) => `${name} cannot have a canary: leave switch.canary out`),
      ]);
    },
  };
}

type Point = { probe: string[]; timeout: number };

/** Every shadow says of itself that it uses the live database. */
function pointedGate({ machines }: FarmContext, name: string, { probe, timeout }: Point): Gate {
  return {
    id: `pointed/${name}`,
    title: `every shadow uses the live ${name}`,
    look: async (signal) => {
      const answers = await Promise.all(
        machines.all().map(async (shadow) => {
          const { stdout } = await runRemote(await shadow.connect(signal), probe, timeout, signal);
          const says = stdout.trim();
          return says === "live" ? [] : [`${shadow.name} uses '${says.slice(0, 40)}'`];
        }),
      );
      return verdict("all do", answers.flat());
    },
  };
}

/** What may run on one side only can be turned off on the old one. */
function handOverGate({ machines, farm }: FarmContext): Gate {
  return {
    id: "hand-over",
    title: `${farm.spec.off.map(({ name }) => name).join(", ")} can be turned off on the live machines`,
    look: async () => {
      const closed = farm.spec.boxes.filter((box) => !machines.live(box).canConnect);
      return verdict(
        "the file says how to log in",
        closed.map(({ name }) => `${name} has no live.ssh`),
      );
    },
  };
}

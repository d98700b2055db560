import type { FarmContext } from "../context.ts";
import { describeState } from "../routers/router.ts";
import type { Gate } from "./gate.ts";
import { verdict } from "./verdict.ts";

/** The routers answer, and can do what is asked of them: be watched, and lead a share of the users elsewhere, 0 to 1. */
export function routersGate({ routers, farm }: FarmContext, canary?: number): Gate {
  const { watch } = farm.spec.switch;
  return {
    id: "routers",
    title: "the routers answer and can be watched",
    look: async (signal) => {
      const open = await routers.open();
      const silent = (await routers.probe(signal)).filter(({ runtime }) => runtime === undefined);
      const blind = watch === 0 ? [] : open.filter(({ abilities }) => !abilities.has("statistics"));
      const whole = canary === undefined ? [] : open.filter(({ abilities }) => !abilities.has("canary"));
      return verdict("all answer", [
        ...silent.map(describeState),
        ...blind.map(({ name }) => `${name} tells no statistics: docs/routers.md, or switch.watch: 0s`),
        ...whole.map(({ name }) => `${name} cannot have a canary: leave switch.canary out`),
      ]);
    },
  };
}

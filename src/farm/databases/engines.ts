import type { DatabaseAddress } from "./address.ts";
import type { DatabaseEngine } from "./engine.ts";
import { mysql } from "./mysql/engine.ts";
import { postgres } from "./postgres/engine.ts";

const ENGINES: Readonly<Record<DatabaseAddress["engine"], DatabaseEngine>> = { postgres, mysql };

export function engineOf({ engine }: Pick<DatabaseAddress, "engine">): DatabaseEngine {
  return ENGINES[engine];
}

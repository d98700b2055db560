/** The two versions behind a site: what runs today, and the shadow machines. */
export type Side = "old" | "new";

/** What an address leads to: a side, nothing, or something that is neither, by the router's own name for it. */
export type Answerer = Side | "none" | `other:${string}`;

/** The host names of a site: the users' one, and the one that leads to the version they do not have. */
export interface Site {
  live: string;
  shadow: string;
}

/** Where the requests of a site go. */
export interface Routing {
  live: Answerer;
  shadow: Answerer;
  /** The share of the live address's clients that get the new side all the same, from 0 to 99. */
  canaryPercent: number;
}

/** Users have the old side; the new one can be reached through the shadow address. */
export const BEFORE_SWITCH: Routing = { live: "old", shadow: "new", canaryPercent: 0 };

/** Users have the new side; the old one can still be reached through the shadow address. */
export const AFTER_SWITCH: Routing = { live: "new", shadow: "old", canaryPercent: 0 };

/** No user is elsewhere than before the switch, but the shadow address leads to the old side, too: the way back is rehearsed with it. */
export const REHEARSAL: Routing = { live: "old", shadow: "old", canaryPercent: 0 };

/** The old side is left: nothing leads to it any more. */
export const WITHOUT_OLD: Routing = { live: "new", shadow: "new", canaryPercent: 0 };

/** As before the switch, but `percent` of the clients have the new side. */
export function canaryRouting(percent: number): Routing {
  if (!Number.isInteger(percent) || percent < 0 || percent > 99)
    throw new RangeError(`canary of ${percent} %`);
  return { ...BEFORE_SWITCH, canaryPercent: percent };
}

export function sameRouting(one: Routing | undefined, other: Routing): boolean {
  return (
    one !== undefined &&
    one.live === other.live &&
    one.shadow === other.shadow &&
    one.canaryPercent === other.canaryPercent
  );
}

/**
 * True when nobody at the live address has the new side any more. Such a change is made durable before it is made
 * visible, every other one after: whatever is interrupted, a router that restarts leads users to the old side.
 */
export function leadsBack(to: Routing): boolean {
  return to.live === "old" && to.canaryPercent === 0;
}

/** `live → old, shadow → new, canary 5 %`. */
export function describeRouting({ live, shadow, canaryPercent }: Routing): string {
  const canary = canaryPercent === 0 ? "" : `, canary ${canaryPercent} %`;
  return `live → ${live}, shadow → ${shadow}${canary}`;
}

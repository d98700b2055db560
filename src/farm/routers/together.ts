import type { Problem } from "./router.ts";

/**
 * How far a change has come on one router:
 * waiting → prepared → committed, and when something fails:
 * waiting → refused (this one cannot), prepared → abandoned (another one cannot),
 * prepared → failed (its commit did not end right) → committed (repaired) or unrepaired,
 * committed or unrepaired → restored (back to what was) or lost (could not be).
 */
export type Phase =
  | "waiting"
  | "prepared"
  | "refused"
  | "abandoned"
  | "committed"
  | "failed"
  | "unrepaired"
  | "restored"
  | "lost";

export interface RouterProgress {
  router: string;
  phase: Phase;
  problem?: Problem;
}

/** What to do next, on all the routers named, at the same time. */
export interface Step {
  act: "prepare" | "commit" | "repair" | "restore" | "abandon";
  routers: string[];
}

/** How a change ended: made everywhere, refused before anything changed, undone everywhere, or not the same everywhere. */
export type Outcome = "changed" | "refused" | "put-back" | "disagree";

/**
 * The next step of a change of several routers from how far each has come.
 *
 * All or none: nothing is committed before all are prepared; one that fails then is repaired, and where it cannot be, all
 * are led back. Only a change that `leadsBack` is made on as many as possible: there is nothing safer to go back to, and
 * a router that is out of order must not keep the users of the others.
 */
export function nextStep(progress: readonly RouterProgress[], leadsBack = false): Step | Outcome {
  const routersIn = (...phases: Phase[]) =>
    progress.filter(({ phase }) => phases.includes(phase)).map(({ router }) => router);
  const step = (act: Step["act"], routers: string[]) => (routers.length > 0 ? { act, routers } : undefined);
  const forward = () => step("prepare", routersIn("waiting")) ?? step("commit", routersIn("prepared"));

  if (leadsBack) {
    const next = forward() ?? step("repair", routersIn("refused", "failed"));
    return next ?? (routersIn("unrepaired").length > 0 ? "disagree" : "changed");
  }
  if (routersIn("refused").length > 0) return step("abandon", routersIn("prepared")) ?? "refused";
  if (routersIn("unrepaired", "restored", "lost").length > 0) {
    const back = step("restore", routersIn("committed", "unrepaired"));
    return back ?? (routersIn("lost").length > 0 ? "disagree" : "put-back");
  }
  return forward() ?? step("repair", routersIn("failed")) ?? "changed";
}

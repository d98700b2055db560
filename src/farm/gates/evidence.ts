import { expectedCells } from "../check/cells.ts";
import type { Farm } from "../file/load.ts";
import type { Journal } from "../journal/journal.ts";
import { foldJournal, isFresh } from "../journal/state.ts";
import type { Gate } from "./gate.ts";

const MOST_NAMED = 5;

/** Every cell of the matrix has passed, lately enough. A cell without a result is a failed one. */
export function evidenceGate(farm: Farm, journal: Journal, now: () => Date): Gate {
  return {
    id: "evidence",
    title: "all checks are green and fresh",
    look: async () => {
      const { evidence } = foldJournal(journal.entries());
      const found = new Map(evidence.map((cell) => [cell.id, cell]));
      const cells = expectedCells(farm.spec);
      const bad = cells.flatMap(({ id }) => {
        const cell = found.get(id);
        if (!cell) return [`${id} was never checked`];
        if (!cell.passed) return [`${id} failed: ${cell.message}`];
        return isFresh(cell, now().getTime(), farm.spec.gates.evidence) ? [] : [`${id} is of ${cell.time}`];
      });
      if (bad.length === 0) return { passed: true, message: `${cells.length} cells are green` };
      const more = bad.length > MOST_NAMED ? `, and ${bad.length - MOST_NAMED} more` : "";
      return {
        passed: false,
        message: `${bad.slice(0, MOST_NAMED).join("; ")}${more}: run 'doppel farm check'`,
      };
    },
  };
}

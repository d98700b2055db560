import type { Constraint } from "libpg-query";
import { additive, type Judgement, refused } from "../../verdict.ts";
import { relationName } from "../names.ts";
import type { NewObjects } from "../new-objects.ts";

const CASCADE = "c";
const SET_NULL = "n";
const SET_DEFAULT = "d";

/**
 * A foreign key of a new table or column. It locks the referenced table for an instant, with nothing to validate; what
 * matters is whether the old version can still delete there.
 */
export function judgeForeignKey(key: Constraint, from: "table" | "column", made: NewObjects): Judgement {
  const target = relationName(key.pktable);
  if (made.has("relation", target)) return additive("references a new table");
  const locks = [{ mode: "SHARE ROW EXCLUSIVE", on: target }];
  const action = key.fk_del_action;
  if (action === CASCADE && from === "column") {
    return refused(
      `when the old version deletes a row of ${target}, rows that it knows nothing of would go with it`,
      {
        locks,
        alternative: "REFERENCES … ON DELETE SET NULL",
      },
    );
  }
  const harmless = action === SET_NULL || action === SET_DEFAULT || action === CASCADE;
  if (!harmless) {
    return refused(
      `the old version could no longer delete a row of ${target} that a new row refers to: it does not know the new rows`,
      {
        locks,
        alternative:
          from === "table"
            ? "REFERENCES … ON DELETE CASCADE or SET NULL, or add the key after the switch"
            : "REFERENCES … ON DELETE SET NULL, or add the key after the switch",
      },
    );
  }
  return additive(
    `writers of ${target} wait for an instant; deletes there go on, changes of a key that a new row refers to do not`,
    { locks },
  );
}

interface RefusedAlteration {
  reason: string;
  mode: string;
  rewrites: boolean;
  alternative?: string;
}

const alteration = (reason: string, alternative?: string, mode = "ACCESS EXCLUSIVE"): RefusedAlteration => ({
  reason,
  mode,
  rewrites: false,
  ...(alternative === undefined ? {} : { alternative }),
});

const AFTER = "after the switch, when the old version is gone";

/** Clauses of ALTER TABLE that a table with two writers does not bear, with what to do instead. */
export const REFUSED_ALTERATIONS: Readonly<Record<string, RefusedAlteration>> = {
  AT_DropColumn: alteration("the old version reads and writes the column", AFTER),
  AT_AlterColumnType: {
    ...alteration(
      "the old version expects the old type, and most changes rewrite the table",
      "a new column of the new type that the new version writes beside the old one; fill it in batches",
    ),
    rewrites: true,
  },
  AT_SetNotNull: alteration(
    "every row is read under the lock, and the old version's inserts that leave the column out would fail",
    `${AFTER}: ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID, VALIDATE, then SET NOT NULL`,
  ),
  AT_DropNotNull: alteration("the old version would read NULL where it never was", AFTER),
  AT_DropConstraint: alteration("the old version relies on what the constraint holds", AFTER),
  AT_AddIdentity: alteration("the old version's inserts would get or be refused values by it", AFTER),
  AT_SetIdentity: alteration("the old version's inserts would change", AFTER),
  AT_DropIdentity: alteration("the old version's inserts would have no value for the column", AFTER),
  AT_SetExpression: { ...alteration("every row is computed again", "a new column"), rewrites: true },
  AT_DropExpression: alteration("the old version's inserts would leave the column empty", AFTER),
  AT_EnableRowSecurity: alteration("rows would disappear from the old version", AFTER),
  AT_DisableRowSecurity: alteration("the old version would see rows that it must not", AFTER),
  AT_ForceRowSecurity: alteration("rows would disappear from the old version", AFTER),
  AT_NoForceRowSecurity: alteration("the old version would see rows that it must not", AFTER),
  AT_EnableTrig: alteration(
    "a trigger changes what the old version's writes do",
    AFTER,
    "SHARE ROW EXCLUSIVE",
  ),
  AT_DisableTrig: alteration(
    "a trigger changes what the old version's writes do",
    AFTER,
    "SHARE ROW EXCLUSIVE",
  ),
  AT_ChangeOwner: alteration("the old version's role may lose its rights", "GRANT to the new version's role"),
  AT_DetachPartition: alteration("its rows would disappear from the old version", AFTER),
  AT_SetLogged: { ...alteration("the table is rewritten"), rewrites: true },
  AT_SetUnLogged: {
    ...alteration("the table is rewritten and no longer safe after a crash"),
    rewrites: true,
  },
  AT_SetTableSpace: { ...alteration("the table is copied while nobody can use it"), rewrites: true },
  AT_SetAccessMethod: { ...alteration("the table is rewritten"), rewrites: true },
  AT_AddInherit: alteration("queries of the parent would return other rows", "a table of its own"),
  AT_DropInherit: alteration("queries of the parent would return other rows", AFTER),
};

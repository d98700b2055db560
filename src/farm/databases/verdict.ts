/** A lock that a statement takes on something that is there before the migration. */
export interface Lock {
  /** As the database's manual names it: `ACCESS EXCLUSIVE`, `exclusive metadata lock`. */
  mode: string;
  /** The table, or what else is locked. */
  on: string;
}

/** What a statement makes, as far as a resumed run must be able to look it up in the catalog. */
export interface MadeObject {
  kind: "table" | "column" | "index" | "view";
  /** The table of a column or an index. */
  table?: string;
  name: string;
}

/**
 * How a statement is run: in a transaction with its ledger row, alone because the database allows it in no transaction
 * (or ends one by itself), or not at all because the run decides that by itself (BEGIN, SET lock_timeout).
 */
export type RunMode = "transaction" | "alone" | "skip";

/** What a rule says of one statement, or of one clause of it. */
export interface Judgement {
  verdict: "additive" | "refused";
  reason: string;
  locks: readonly Lock[];
  /** All rows of an existing table are written again. */
  rewrites: boolean;
  /** What to write instead, of a refused statement. */
  alternative?: string;
  makes: readonly MadeObject[];
  run: RunMode;
}

/** A judged statement of a migration file. */
export interface StatementVerdict extends Judgement {
  /** The statement on one line, cut when it is long. */
  statement: string;
  /** Where it starts in the file; the first line is 1. */
  line: number;
  /** The whole statement, as it was parsed and as it will be run. */
  sql: string;
}

export interface MigrationVerdict {
  engine: "postgres" | "mysql";
  statements: readonly StatementVerdict[];
  refused: number;
}

const SHORT_CHARACTERS = 90;

/** An additive statement or clause. */
export function additive(
  reason: string,
  facts: Partial<Pick<Judgement, "locks" | "rewrites" | "makes" | "run">> = {},
): Judgement {
  return {
    verdict: "additive",
    reason,
    locks: [],
    rewrites: false,
    makes: [],
    run: "transaction",
    ...facts,
  };
}

/** A refused statement or clause. */
export function refused(
  reason: string,
  facts: Partial<Pick<Judgement, "locks" | "rewrites" | "alternative">> = {},
): Judgement {
  return { verdict: "refused", reason, locks: [], rewrites: false, makes: [], run: "transaction", ...facts };
}

/** The judgement of a statement with several clauses: refused when one is, with all locks and the first reason. */
export function together(clauses: readonly Judgement[]): Judgement {
  const decisive = clauses.find((clause) => clause.verdict === "refused") ?? clauses[0];
  if (decisive === undefined) return refused("it does nothing that is known to be additive");
  const locks = clauses.flatMap((clause) => clause.locks);
  const reasons = new Set(
    clauses.filter((clause) => clause.verdict === decisive.verdict).map((clause) => clause.reason),
  );
  return {
    ...decisive,
    reason: [...reasons].join("; "),
    locks: locks.filter(
      (lock, at) => locks.findIndex((other) => other.mode === lock.mode && other.on === lock.on) === at,
    ),
    rewrites: clauses.some((clause) => clause.rewrites),
    makes: decisive.verdict === "refused" ? [] : clauses.flatMap((clause) => clause.makes),
  };
}

/** A statement with its judgement. */
export function judged(sql: string, line: number, judgement: Judgement): StatementVerdict {
  const flat = sql.replace(/\s+/g, " ").trim();
  const statement = flat.length > SHORT_CHARACTERS ? `${flat.slice(0, SHORT_CHARACTERS - 1)}…` : flat;
  return { statement, line, ...judgement, sql };
}

/** `SHARE UPDATE EXCLUSIVE on accounts`, or `none`. */
export function locksText(locks: readonly Lock[]): string {
  return locks.length === 0 ? "none" : locks.map(({ mode, on }) => `${mode} on ${on}`).join(", ");
}

import type { TransactionStmt, VariableSetStmt } from "libpg-query";
import { additive, type Judgement, refused } from "../../verdict.ts";

/** Settings that the run decides itself, or that concern only what a client is told. */
const SETTINGS_OF_THE_RUN = new Set(
  `lock_timeout statement_timeout idle_in_transaction_session_timeout transaction_timeout client_min_messages
  client_encoding standard_conforming_strings check_function_bodies xmloption row_security`.split(/\s+/),
);

/** SET: never obeyed. What would change the meaning of the statements after it is refused. */
export function judgeSet(statement: VariableSetStmt): Judgement {
  const name = statement.name ?? "";
  if (SETTINGS_OF_THE_RUN.has(name)) return additive("not run: the expansion sets its own", { run: "skip" });
  if (name === "search_path") {
    return refused("the names after it would mean other tables than what they say", {
      alternative: "write names with their schema",
    });
  }
  return refused(`the setting ${name} is not known to be harmless`, { alternative: "leave it out" });
}

/** BEGIN and COMMIT say nothing: each statement is a transaction of its own, so that its locks are short. */
export function judgeTransaction(statement: TransactionStmt): Judgement {
  const kind = statement.kind ?? "";
  if (["TRANS_STMT_BEGIN", "TRANS_STMT_START", "TRANS_STMT_COMMIT"].includes(kind)) {
    return additive("not run: each statement is a transaction of its own", { run: "skip" });
  }
  return refused("what is taken back is not known to the statements after it", {
    alternative: "leave out what it takes back",
  });
}

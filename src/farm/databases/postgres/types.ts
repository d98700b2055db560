import type { TypeName } from "libpg-query";
import { dottedName } from "./names.ts";
import type { NewObjects } from "./new-objects.ts";

const SERIAL = new Set(
  ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"].flatMap((name) => [
    name,
    `pg_catalog.${name}`,
  ]),
);

const BUILT_IN = new Set(
  `bigint int8 bit varbit boolean bool box bytea character char varchar bpchar cidr circle date float4 float8 inet int4
  integer int int2 smallint interval json jsonb jsonpath line lseg macaddr macaddr8 money name numeric decimal oid path
  pg_lsn point polygon real text time timetz timestamp timestamptz tsquery tsvector uuid xml int4range int8range numrange
  tsrange tstzrange daterange int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange
  regclass`.split(/\s+/),
);

/** A type that stands for a sequence and a default from it. */
export function isSerial(type: TypeName | undefined): boolean {
  return SERIAL.has(dottedName(type?.names));
}

/** A type of PostgreSQL's own, or one made in the same file: it is known to be no domain with constraints. */
export function isKnownType(type: TypeName | undefined, made: NewObjects): boolean {
  const name = dottedName(type?.names);
  return BUILT_IN.has(name.replace(/^pg_catalog\./, "")) || made.has("type", name);
}

import assert from "node:assert";

type FieldType = "u8" | "u16" | "u32" | "u64" | `bytes${number}`;
type Fields = Record<string, readonly [offset: number, type: FieldType]>;
type Values<F extends Fields> = { [K in keyof F]: F[K][1] extends `bytes${number}` ? Buffer : number };

export interface RecordLayout<F extends Fields> {
  readonly sizeBytes: number;
  read(buffer: Buffer, offset?: number): Values<F>;
  /** Writes every field; bytes of the record that no field covers become zero. */
  write(values: Values<F>, buffer?: Buffer, offset?: number): Buffer;
}

/**
 * An on-disk record declared once, as a table of fields, and read and written through it.
 *
 * `u64` values are numbers below 2^53; a larger one read from disk throws a RangeError, which the caller
 * turns into its own error.
 */
export function recordLayout<const F extends Fields>(
  endian: "little" | "big",
  sizeBytes: number,
  fields: F,
): RecordLayout<F> {
  const entries = Object.entries(fields);
  for (const [name, [offset, type]] of entries) {
    assert(offset + fieldBytes(type) <= sizeBytes, `field ${name} reaches outside of its record`);
  }
  return {
    sizeBytes,
    read(buffer, offset = 0) {
      const values: Record<string, number | Buffer> = {};
      for (const [name, [at, type]] of entries) values[name] = readField(buffer, offset + at, type, endian);
      return values as Values<F>;
    },
    write(values, buffer = Buffer.alloc(sizeBytes), offset = 0) {
      buffer.fill(0, offset, offset + sizeBytes);
      for (const [name, [at, type]] of entries) {
        writeField(buffer, offset + at, type, endian, values[name] as number | Buffer);
      }
      return buffer;
    },
  };
}

function fieldBytes(type: FieldType): number {
  if (type.startsWith("bytes")) return Number(type.slice(5));
  return { u8: 1, u16: 2, u32: 4, u64: 8 }[type as "u8" | "u16" | "u32" | "u64"];
}

function readField(buffer: Buffer, at: number, type: FieldType, endian: "little" | "big"): number | Buffer {
  const little = endian === "little";
  if (type === "u8") return buffer.readUInt8(at);
  if (type === "u16") return little ? buffer.readUInt16LE(at) : buffer.readUInt16BE(at);
  if (type === "u32") return little ? buffer.readUInt32LE(at) : buffer.readUInt32BE(at);
  if (type === "u64") return safeNumber(little ? buffer.readBigUInt64LE(at) : buffer.readBigUInt64BE(at));
  return buffer.subarray(at, at + fieldBytes(type));
}

function writeField(
  buffer: Buffer,
  at: number,
  type: FieldType,
  endian: "little" | "big",
  value: number | Buffer,
) {
  const little = endian === "little";
  if (Buffer.isBuffer(value)) {
    assert.strictEqual(value.length, fieldBytes(type));
    value.copy(buffer, at);
  } else if (type === "u8") buffer.writeUInt8(value, at);
  else if (type === "u16") little ? buffer.writeUInt16LE(value, at) : buffer.writeUInt16BE(value, at);
  else if (type === "u32") little ? buffer.writeUInt32LE(value, at) : buffer.writeUInt32BE(value, at);
  else little ? buffer.writeBigUInt64LE(BigInt(value), at) : buffer.writeBigUInt64BE(BigInt(value), at);
}

/** A 64-bit value as a number; a RangeError when it is not below 2^53. */
export function safeNumber(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} is above 2^53`);
  return Number(value);
}

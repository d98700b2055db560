import { chmodSync, writeFileSync } from "node:fs";

/**
 * An agent that misbehaves on purpose: a stand-alone program for `agentBinary`, whose `body` runs after HELLO.
 *
 * In `body`, `send(type, object or Buffer)` sends a message and `onMessage(type)` is called for each one received.
 * Like the real agent it removes itself, and ends when its input does. Before HELLO it writes its process's number to
 * `file`.pid.
 */
export function writeFakeAgent(file: string, body: string, hello: object = {}): string {
  const greeting = {
    ...{ protocol: 2, version: "fake", arch: "x86_64", pid: 1, uid: 0, cpus: 1, ioUring: false },
    ...hello,
  };
  const program = `#!${process.execPath}
const fs = require("node:fs");
const path = require("node:path");
fs.rmSync(path.dirname(__filename), { recursive: true });
try {
  fs.writeFileSync(${JSON.stringify(`${file}.pid`)}, String(process.pid));
} catch {
  // Another user's directory: nobody there asks for the number.
}
function send(type, body) {
  const payload = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  const header = Buffer.alloc(8);
  header.writeUInt32LE(payload.length, 0);
  header[4] = type;
  return process.stdout.write(Buffer.concat([header, payload]));
}
let onMessage = () => {};
let input = Buffer.alloc(0);
process.stdin.on("data", (chunk) => {
  input = Buffer.concat([input, chunk]);
  while (input.length >= 8 && input.length >= 8 + input.readUInt32LE(0)) {
    const type = input[4];
    const payload = input.subarray(8, 8 + input.readUInt32LE(0));
    input = input.subarray(8 + payload.length);
    if (type === 0x84) send(0x04, payload);
    else if (type === 0x85) process.exit(0);
    else onMessage(type, payload);
  }
});
process.stdin.on("end", () => process.exit(0));
process.stdout.on("error", () => process.exit(1));
send(0x01, ${JSON.stringify(greeting)});
${body}
`;
  writeFileSync(file, program);
  chmodSync(file, 0o755);
  return file;
}

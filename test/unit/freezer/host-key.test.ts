import { expect, it } from "vitest";
import { makeHostKey } from "../../../src/freezer/host-key.ts";

/** RFC 8709, section 4: the lengths of two strings, the name and 32 bytes. */
const PUBLIC_BYTES = 4 + "ssh-ed25519".length + 4 + 32;

it("every host key is whole, also those that begin with zeros", () => {
  const keys = Array.from({ length: 1000 }, () => makeHostKey("web1"));
  const lengths = keys.map((key) => Buffer.from(key.public.split(" ")[1] ?? "", "base64").length);
  expect(new Set(lengths)).toEqual(new Set([PUBLIC_BYTES]));
  expect(new Set(keys.map((key) => key.private.length)).size).toBe(1);
});

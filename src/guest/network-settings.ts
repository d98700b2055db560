import { isIP } from "node:net";
import { z } from "zod";
import { DoppelError, EXIT } from "../errors.ts";

const address = z.string().refine((text) => isIP(text) !== 0, "is not an IP address");
const withPrefix = z.string().refine((text) => {
  const [ip = "", prefix = ""] = text.split("/");
  const family = isIP(ip);
  return family !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128);
}, "is not an address with its prefix, such as 192.0.2.5/24");

const interfaceSchema = z
  .strictObject({
    /** The captured card: its address or its name. */
    card: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9:._-]{0,31}$/),
    dhcp: z.boolean().default(false),
    addresses: z.array(withPrefix).max(32).default([]),
    gateway: address.optional(),
    dns: z.array(address).max(8).default([]),
  })
  .refine(({ dhcp, addresses }) => dhcp || addresses.length > 0, "needs dhcp or addresses");

const networkSchema = z.strictObject({ interfaces: z.array(interfaceSchema).min(1).max(64) });

/** What one card is to have on the new hardware; docs/conversion.md, "--network". */
export type InterfaceSettings = z.infer<typeof interfaceSchema>;

/** Parses the text of a `--network` file, JSON. Throws `network-file-invalid` (exit 2), naming what does not fit. */
export function parseNetworkFile(text: string, path: string): InterfaceSettings[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "";
    throw new DoppelError("network-file-invalid", `${path} is not JSON: ${why}`, {
      exitCode: EXIT.usage,
      cause,
    });
  }
  const result = networkSchema.safeParse(value);
  if (result.success) return result.data.interfaces;
  const issue = result.error.issues[0];
  throw new DoppelError(
    "network-file-invalid",
    `${path}: ${issue?.path.join(".") || "it"}: ${issue?.message}`,
    {
      hint: '{ "interfaces": [{ "card": "eth0", "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1" }] }',
      exitCode: EXIT.usage,
    },
  );
}

import { z } from "zod";
import { name, path, port, size } from "./values.ts";

/** How a machine is reached over SSH; what is left out comes from the user's ssh configuration. */
export const ssh = z
  .strictObject({
    user: z.string().min(1).optional(),
    port: port.optional(),
    identity: path.optional().describe("The private key's file."),
    config: path.optional().describe("An ssh configuration instead of the user's."),
    hostKey: z
      .string()
      .regex(/^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/=]+( .*)?$/)
      .optional()
      .describe(
        "The machine's public host key, pinned. Without it: the key put in by the seed, else known_hosts.",
      ),
  })
  .meta({ description: "How the shadows are reached over SSH." });

const live = z.strictObject({
  address: z.string().min(1).describe("Where the router finds the live machine."),
  port: port.optional().describe("Its service port, when it is not `servicePort`."),
  ssh: z.string().min(1).optional().describe("[user@]host[:port] or a Host of the ssh configuration."),
  domain: name.optional().describe("Its name in libvirt, when it is a guest of the same host."),
});

const libvirtBox = z.strictObject({
  kind: z.literal("libvirt"),
  name,
  connect: z.string().min(1).describe("libvirt's URI, such as qemu+ssh://root@host1/system."),
  pool: name.optional().describe("A storage pool where the image is placed once; needed for another host."),
  live: live.optional(),
  shadow: z
    .strictObject({
      name: name.optional().describe("Of the domain; FARM-BOX by default."),
      networks: z.array(name).min(1).default(["default"]).describe("libvirt's networks, one for each card."),
      address: z
        .string()
        .min(1)
        .optional()
        .describe("When it is static; else libvirt's DHCP or the guest agent tell."),
      port: port.optional().describe("Its service port, when it is not `servicePort`."),
      cpus: z.int().min(1).max(1024).optional(),
      memory: size.optional(),
      userData: path.optional().describe("cloud-init user-data of this box instead of the farm's."),
      networkConfig: path.optional().describe("cloud-init network-config of this box."),
      ssh: ssh.optional(),
    })
    .prefault({}),
});

const existingBox = z.strictObject({
  kind: z.literal("existing"),
  name,
  live: live.optional(),
  shadow: z.strictObject({
    address: z.string().min(1),
    port: port.optional().describe("Its service port, when it is not `servicePort`."),
    ssh: ssh.optional(),
  }),
});

/** A production box and the shadow beside it: a libvirt guest that is made, or a machine that is there already. */
export const box = z.discriminatedUnion("kind", [libvirtBox, existingBox]);

export type FarmBox = z.infer<typeof box>;
export type LibvirtBox = z.infer<typeof libvirtBox>;
export type SshSettings = z.infer<typeof ssh>;

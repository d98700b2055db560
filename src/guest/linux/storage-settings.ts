import type { Rewritten } from "./device-text.ts";

const PLACE =
  /\/dev\/(?:sd|hd|vd|xvd)[a-z]+\d*|\/dev\/(?:nvme\d+n\d+|mmcblk\d+)(?:p\d+)?|\/dev\/disk\/by-(?:path|id)\//;

/**
 * mdadm.conf(5): `DEVICE` lists where members are looked for, and an array may name its members; by their place they are
 * not found again. An array is known by its UUID.
 */
export function rewriteMdadmConfiguration(text: string): Rewritten {
  const changes: string[] = [];
  const lines = text.split("\n").map((line) => {
    if (/^\s*DEVICE\b/i.test(line) && PLACE.test(line)) {
      changes.push(`${line.trim()} → DEVICE partitions containers`);
      return "DEVICE partitions containers";
    }
    // Without its UUID an array is known by nothing else than its members.
    if (!/\bUUID=/i.test(line)) return line;
    return line.replace(/\s+devices=\S+/gi, (words) => {
      changes.push(`${words.trim()} taken out`);
      return "";
    });
  });
  return { text: lines.join("\n"), changes, unknown: [] };
}

/** lvm.conf(5): a filter that accepts disks by their place would reject all others. */
export function rewriteLvmConfiguration(text: string): Rewritten {
  const changes: string[] = [];
  const rewritten = text.replace(
    /^([ \t]*)((?:global_)?filter\s*=\s*(\[[^\]]*\]|"[^"]*"))/gm,
    (whole, blank: string, setting: string) => {
      if (!namesPlace(setting)) return whole;
      const commented = setting.split("\n").map((line) => `${blank}# ${line.trim()}`);
      changes.push(
        `${setting
          .split("\n")
          .map((line) => line.trim())
          .join(" ")} taken out`,
      );
      return commented.join("\n");
    },
  );
  return { text: rewritten, changes, unknown: [] };
}

/** In a filter slashes may be escaped, and a name may be a pattern. */
function namesPlace(setting: string): boolean {
  const plain = setting.replaceAll("\\/", "/").replace(/\^?\/dev\//g, "/dev/");
  return /\/dev\/(?:sd|hd|vd|xvd|nvme|mmcblk|cciss|disk\/by-(?:path|id))/.test(plain);
}

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fingerprint, hostKeyAlgorithms, refuseHostKey } from "../../../src/ssh/host-key.ts";
import { judgeHostKey, knownHostName, linesOf, parseKnownHosts } from "../../../src/ssh/known-hosts.ts";
import type { HostSettings } from "../../../src/ssh/user-config.ts";

// Keys, hashed names and fingerprints made by OpenSSH 9.2 (ssh-keygen, ssh-keygen -H, ssh-keygen -lf).
const ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbhHmE4xtdW8hjVjLSLXmleBNPOR7TyhTKyopdmAazf";
const OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBKyyo+3SHa4WHSrPJlWD05mXZIz/KFSwSl2zfo2+0rb";
const ECDSA =
  "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJwyOwQPA4ddQ8E3/KOxPwfQrxploGAolHWgBZA0qaA8LxRAxikkX7PjU8IFo1heRj8TCuvS9Ct1dggMOUiiWa4=";
const HASHED_BOX = "|1|i3G0bNGuSpRpToULjzaHg+CrsXA=|rPSlXVNtqnvevQaS91tRS1iaO98=";
const HASHED_BOX_2222 = "|1|8rmeYtfFhHxsELh+Jvuq7E/Bu3c=|6k7Hd6CaoBLDcW7GYlcthj6Yf8o=";

const keyOf = (text: string) => Buffer.from(text.split(" ")[1] as string, "base64");

function verdict(knownHosts: string, name = "box.example", shown = ED25519): string {
  return judgeHostKey(linesOf(parseKnownHosts(knownHosts, "known_hosts"), name), keyOf(shown)).kind;
}

describe("a host key is", () => {
  const cases: [string, string, string?, string?][] = [
    ["known", `box.example ${ED25519}`],
    ["known", `BOX.example ${ED25519} a comment`],
    ["known", `other,box.example,10.0.0.1 ${ED25519}`],
    ["known", `*.example ${ED25519}`],
    ["known", `b?x.example\t${ED25519}\r`],
    ["known", `box.example ${ECDSA}\nbox.example ${ED25519}`],
    ["known", `box.example ${OTHER}\n# moved\nbox.example ${ED25519}`],
    ["known", `${HASHED_BOX} ${ED25519}`],
    ["known", `${HASHED_BOX_2222} ${ED25519}`, "[box.example]:2222"],
    ["known", `[box.example]:2222 ${ED25519}`, "[box.example]:2222"],
    ["known", `[*.example]:2222 ${ED25519}`, "[box.example]:2222"],
    ["unknown", ""],
    ["unknown", `# box.example ${ED25519}`],
    ["unknown", `box ${ED25519}`],
    ["unknown", `*.example,!box.example ${ED25519}`],
    ["unknown", `box.example ${ED25519}`, "[box.example]:2222"],
    ["unknown", `${HASHED_BOX} ${ED25519}`, "[box.example]:2222"],
    ["unknown", `${HASHED_BOX.replace("|1|", "|2|")} ${ED25519}`],
    ["unknown", `@cert-authority *.example ${ED25519}`],
    ["unknown", "box.example ssh-ed25519 AAAA"],
    ["unknown", "box.example ssh-ed25519"],
    ["unknown", `box.example ${ED25519.replace("ssh-ed25519", "ssh-rsa")}`],
    ["changed", `box.example ${OTHER}`],
    ["changed", `${HASHED_BOX} ${OTHER}`],
    ["changed", `box.example ${ECDSA}`],
    ["revoked", `@revoked * ${ED25519}`],
    ["revoked", `box.example ${ED25519}\n@revoked box.example ${ED25519}`],
    ["unknown", `@revoked * ${OTHER}`],
  ];
  test.each(cases)("%s: %s %s", (kind, knownHosts, name) => {
    expect(verdict(knownHosts, name)).toBe(kind);
  });
});

test("the changed key that is named is one of the same kind where there is one", () => {
  const lines = parseKnownHosts(`box ${ECDSA}\n\nbox ${OTHER}\n`, "a file");
  expect(judgeHostKey(linesOf(lines, "box"), keyOf(ED25519))).toMatchObject({
    kind: "changed",
    entry: { file: "a file", line: 3 },
  });
});

test("names carry the port unless it is 22, and an alias stands for both", () => {
  expect(knownHostName("Box", 22)).toBe("box");
  expect(knownHostName("Box", 2222)).toBe("[box]:2222");
  expect(knownHostName("::1", 2222)).toBe("[::1]:2222");
  expect(knownHostName("Box", 2222, "Alias")).toBe("alias");
});

test("algorithms whose keys are on record come first, all others stay on offer", () => {
  const algorithms = hostKeyAlgorithms(parseKnownHosts(`box ${ECDSA}`, "f"));
  expect(algorithms[0]).toBe("ecdsa-sha2-nistp256");
  expect([...algorithms].sort()).toEqual([...hostKeyAlgorithms([])].sort());
  expect(hostKeyAlgorithms([])[0]).toBe("ssh-ed25519");
});

test("fingerprints are those of ssh-keygen", () => {
  expect(fingerprint(keyOf(ED25519))).toBe("SHA256:5t+WgPbFviY7T9RPDwd5EdEcYiiNuHIHBsYFJmcWRiY");
  expect(fingerprint(keyOf(ECDSA))).toBe("SHA256:iTskC4T1PlBJDAhhi6iCN5fVx32UbqMIIqnQQ1cWsuQ");
});

test("the hint for an unknown key is a line that makes it known", () => {
  const host = { hostname: "box.example", port: 2222, knownHostsFiles: ["kh"] } as unknown as HostSettings;
  const refusal = refuseHostKey(keyOf(ED25519), [], host);
  expect(refusal).toMatchObject({ code: "host-key-unknown", exitCode: 3 });
  const line = /echo '(.*)' >> kh$/.exec(refusal?.hint ?? "")?.[1] ?? "";
  expect(verdict(line, "[box.example]:2222")).toBe("known");
});

test("any text parses", () => {
  const piece = fc.constantFrom(
    "@revoked",
    "@cert-authority",
    "|1|",
    "|",
    "#",
    "*",
    "!",
    "box",
    ED25519,
    " ",
    "\n",
    "\0",
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 12 }), (pieces) => {
      const lines = parseKnownHosts(pieces.join(""), "f");
      expect(["known", "unknown", "changed", "revoked"]).toContain(
        judgeHostKey(linesOf(lines, "box"), keyOf(OTHER)).kind,
      );
    }),
  );
});

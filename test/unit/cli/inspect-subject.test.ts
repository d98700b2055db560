import { describe, expect, it } from "vitest";
import { kindOfSubject } from "../../../src/cli/inspect-subject.ts";

describe("what `doppel inspect` is asked about", () => {
  it.each([
    ["./disk", "file"],
    ["/var/lib/libvirt/images/web1", "file"],
    ["../web1:v1", "file"],
    ["web1.qcow2", "file"],
    ["Server.OVA", "file"],
    ["web1:before-upgrade", "image"],
    ["site/web1", "image"],
    ["registry.example.org/site/web1:v1", "image"],
    [`web1@sha256:${"0".repeat(64)}`, "image"],
    ["web1", "machine"],
    ["web1.example.org", "machine"],
    ["root@web1:2222", "machine"],
    ["web1:22", "machine"],
    ["[fe80::1]:22", "machine"],
    ["root@fe80::1", "machine"],
  ])("%s is a %s", (what, kind) => {
    expect(kindOfSubject(what)).toBe(kind);
  });
});

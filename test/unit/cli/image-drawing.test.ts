import { describe, expect, it } from "vitest";
import { barWidth, layoutText, lineageText } from "../../../src/cli/image-drawing.ts";
import type { LineageNode } from "../../../src/store/lineage.ts";

const node = (name: string, children: LineageNode[] = []): LineageNode => ({
  digest: `sha256:${name.padEnd(64, "0")}`,
  names: name.startsWith("x") ? [] : [`${name}:latest`],
  grade: "offline",
  created: "2026-11-24T10:20:30.000Z",
  missing: false,
  children,
});

describe("the drawing of an image", () => {
  it("has the family as a tree, with the image itself marked", () => {
    const self = node("self", [node("child", [node("grandchild")]), node("x1")]);
    const tree = { ...node("x0", [node("parent", [self])]), missing: true };
    const facts = "  offline, 2026-11-24 10:20";
    expect(lineageText(tree, self.digest)).toBe(
      [
        "sha256:x00000000000  not here",
        `└─ parent:latest${facts}`,
        `   └─ self:latest${facts}  ◀`,
        `      ├─ child:latest${facts}`,
        `      │  └─ grandchild:latest${facts}`,
        `      └─ sha256:x10000000000${facts}`,
        "",
      ].join("\n"),
    );
  });

  it("has a disk as a bar and explains the signs that are in it", () => {
    const bytes = { unreadable: 65_536, changed: 0, whole: 0, used: 1024 ** 3, zero: 1024 ** 3 };
    const text = layoutText({
      sizeBytes: 2 * 1024 ** 3,
      bytes,
      cells: ["used", "unreadable", "zero"],
      dataRanges: [],
    });
    expect(text).toBe("  [█!·]\n  ! read errors 64.0 KiB   █ data 1.0 GiB   · zeros 1.0 GiB\n");
  });

  it("is as wide as the terminal, within reason", () => {
    expect([barWidth(undefined), barWidth(10), barWidth(120), barWidth(5000)]).toEqual([76, 20, 116, 200]);
  });
});

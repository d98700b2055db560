import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { differenceJson, differenceText } from "../../../../src/cli/file-diff-text.ts";
import { compareListings, type Difference } from "../../../../src/guest/files/compare.ts";
import { comparePaths, type FileEntry, parseEntry } from "../../../../src/guest/files/entry.ts";

function entry(path: string, rest = "f 644 0 0 5 1.5 1.5", target = ""): FileEntry {
  const parsed = parseEntry(Buffer.from(`${rest} ${path}//${target}`));
  if (!parsed) throw new Error("the record of a test is none");
  return parsed;
}

async function* listing(...entries: FileEntry[]): AsyncGenerator<FileEntry, void> {
  yield* entries.sort(comparePaths);
}

async function compare(left: FileEntry[], right: FileEntry[]): Promise<Difference[]> {
  const found: Difference[] = [];
  for await (const difference of compareListings(listing(...left), listing(...right))) found.push(difference);
  return found;
}

describe("a file of a guest", () => {
  it("is parsed whatever its name is", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), fc.string({ maxLength: 30 }), (name, target) => {
        const path = name.replace(/[/\0]/g, "_");
        const parsed = entry(path, "l 777 1 2 9 -5.25 7.0", target.replaceAll("\0", ""));
        expect(parsed.path.toString()).toBe(path);
        expect(parsed).toMatchObject({
          type: "l",
          mode: 0o777,
          uid: 1,
          gid: 2,
          sizeBytes: 9,
          mtime: "-5.25",
        });
      }),
    );
    expect(parseEntry(Buffer.from("no record"))).toBeUndefined();
  });

  it("is found on either side, in the order of the bytes of its path", async () => {
    const left = ["b", "a/b", "a", "a-b"].map((name) => entry(name));
    const right = ["a b", "b", "a"].map((name) => entry(name));
    const marks = (await compare(left, right)).map(differenceText);
    expect(marks.map((mark) => mark.replace("-rw-r--r-- 0:0 5 ", ""))).toEqual([
      "+ /a b",
      "- /a-b",
      "- /a/b",
    ]);
  });

  it("has changed in what differs; its content is undecided when only its times do", async () => {
    const cases: [string, string, string[], boolean][] = [
      ["f 644 0 0 5 1 1", "f 644 0 0 5 1 1", [], false],
      ["f 644 0 0 5 1 1", "f 644 0 0 5 2 2", [], true],
      ["f 644 0 0 5 1 1", "f 644 0 0 6 2 2", ["content"], false],
      ["f 644 0 0 5 1 1", "f 600 7 0 5 1 2", ["mode", "owner"], true],
      ["f 644 0 0 5 1 1", "d 755 0 0 4096 2 2", ["type", "mode"], false],
      ["d 755 0 0 4096 1 1", "d 755 0 0 8192 2 2", [], false],
    ];
    for (const [before, after, aspects, undecided] of cases) {
      const [difference] = await compare([entry("x", before)], [entry("x", after)]);
      if (aspects.length === 0 && !undecided) expect(difference).toBeUndefined();
      else expect(difference).toMatchObject({ aspects, undecided });
    }
  });

  it("is written so that no terminal obeys its name, and no two names look the same", () => {
    const added = (name: string): Difference => ({
      before: undefined,
      after: entry(name),
      aspects: [],
      undecided: false,
    });
    expect(differenceText(added("\u001b[2J\n\u202ex\\"))).toBe(
      "+ -rw-r--r-- 0:0 5 /\\u001b[2J\\u000a\\u202ex\\\\",
    );
    const invalid = { ...entry("x"), path: Buffer.from([0xff]) };
    expect(differenceJson({ ...added("x"), after: invalid })).toMatchObject({
      path: "/\ufffd",
      pathBase64: "/w==",
    });
  });
});

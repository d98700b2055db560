import fc from "fast-check";
import { expect, test } from "vitest";
import { quoteCommand } from "../../../src/ssh/quote.ts";

/** What a POSIX shell makes of words that have only single quotes and backslashes (POSIX, "Quoting"). */
function shellWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < line.length; at += 1) {
    const character = line[at] as string;
    if (character === " ") {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === "'") {
      const end = line.indexOf("'", at + 1);
      word = (word ?? "") + line.slice(at + 1, end);
      at = end;
    } else if (character === "\\") word = (word ?? "") + line[++at];
    else word = (word ?? "") + character;
  }
  return word === undefined ? words : [...words, word];
}

test("any words come back from a shell as they went in", () => {
  const word = fc.string({
    unit: fc.constantFrom("a", "'", '"', "\\", " ", "$", "`", "\n", "*", "~", "!", "é"),
  });
  fc.assert(
    fc.property(fc.array(word, { minLength: 1 }), (words) => {
      expect(shellWords(quoteCommand(words))).toEqual(words);
    }),
  );
});

test("nothing that a shell understands stands outside of quotes", () => {
  expect(quoteCommand(["a b", "$x", "~", "*", "", "it's"])).toBe(`'a b' '$x' '~' '*' '' 'it'\\''s'`);
  expect(quoteCommand(["/tmp/doppel-agent-1/doppel-agent", "serve", "--unlink"])).toBe(
    "/tmp/doppel-agent-1/doppel-agent serve --unlink",
  );
});

test("NUL cannot be passed", () => {
  expect(() => quoteCommand(["a\0b"])).toThrow("NUL");
});

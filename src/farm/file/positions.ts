import { type Document, isMap, isPair, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import { messageOf } from "../../errors.ts";

export interface Position {
  /** Counted from 1. */
  line: number;
  column: number;
}

export interface YamlProblem extends Position {
  message: string;
}

const MOST_ALIASES = 100;

/** A YAML text with the places of what it says. */
export class PlacedYaml {
  readonly value: unknown;
  /** What is wrong with it as YAML, the first first. */
  readonly problems: YamlProblem[];
  readonly #document: Document;
  readonly #lines: LineCounter;

  private constructor(document: Document, lines: LineCounter) {
    this.#document = document;
    this.#lines = lines;
    // The library adds the place and the line's text to its messages.
    this.problems = document.errors.map(({ message, pos }) => ({
      message: message.split(/ at line \d+/)[0] ?? message,
      ...this.#at(pos[0]),
    }));
    this.value = this.problems.length > 0 ? undefined : this.#plainValue();
  }

  static parse(text: string): PlacedYaml {
    const lines = new LineCounter();
    return new PlacedYaml(
      parseDocument(text, { lineCounter: lines, uniqueKeys: true, version: "1.2" }),
      lines,
    );
  }

  /** Where the value at `path` stands; of what is missing, what it is missing from. */
  place(path: readonly PropertyKey[]): Position {
    for (let length = path.length; length > 0; length--) {
      const node = this.#document.getIn(path.slice(0, length), true) as Node | undefined;
      if (node?.range) return this.#at(node.range[0]);
    }
    return this.#at(this.#document.contents?.range?.[0] ?? 0);
  }

  /** Where the key `key` of the mapping at `path` stands. */
  placeOfKey(path: readonly PropertyKey[], key: string): Position {
    const map = path.length === 0 ? this.#document.contents : this.#document.getIn(path, true);
    if (!isMap(map)) return this.place(path);
    const pair = map.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key);
    const range = (pair?.key as Node | undefined)?.range;
    return range ? this.#at(range[0]) : this.place(path);
  }

  /** An alias that makes much of little ("billion laughs") is a problem, too: the library bounds them. */
  #plainValue(): unknown {
    try {
      return this.#document.toJS({ maxAliasCount: MOST_ALIASES });
    } catch (error) {
      this.problems.push({
        message: messageOf(error),
        line: 1,
        column: 1,
      });
      return undefined;
    }
  }

  #at(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { line, column: col };
  }
}

import { SaxesParser } from "saxes";
import { DoppelError } from "../errors.ts";

/** An element, its names without their prefixes. */
export interface XmlElement {
  name: string;
  attributes: Record<string, string>;
  children: XmlElement[];
  text: string;
}

const MOST_DEPTH = 64;

/**
 * Reads a small XML document as a tree. A document type, and with it every entity but XML's own five, is refused. Throws
 * `appliance-invalid`, naming `of`.
 */
export function parseXml(text: string, of: string): XmlElement {
  const root: XmlElement = { name: "", attributes: {}, children: [], text: "" };
  const open = [root];
  const parser = new SaxesParser({ xmlns: true });
  const refuse = (why: string): never => {
    throw new DoppelError("appliance-invalid", `${of} is not XML as it should be: ${why}`);
  };
  parser.on("error", (error) => refuse(error.message));
  parser.on("doctype", () => refuse("it declares a document type"));
  parser.on("opentag", (tag) => {
    if (open.length > MOST_DEPTH) refuse("its elements are too deep in one another");
    const attributes = Object.fromEntries(
      Object.values(tag.attributes).map(({ local, value }) => [local, value]),
    );
    const element = { name: tag.local, attributes, children: [], text: "" };
    open.at(-1)?.children.push(element);
    open.push(element);
  });
  parser.on("text", (piece) => {
    const element = open.at(-1);
    if (element) element.text += piece;
  });
  parser.on("closetag", () => {
    open.pop();
  });
  parser.write(text).close();
  return root.children[0] ?? refuse("it is empty");
}

/** The elements of that name below an element, however deep, in the document's order. */
export function descendants(element: XmlElement, name: string): XmlElement[] {
  return element.children.flatMap((child) => [
    ...(child.name === name ? [child] : []),
    ...descendants(child, name),
  ]);
}

/** The text of the first child of that name, without the blanks around it. */
export function childText(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text.trim();
}

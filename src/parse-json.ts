/** The value of a JSON text, or undefined when it is none; for texts from outside, whose own errors would quote them. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

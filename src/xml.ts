const ENTITIES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
};

/** Text and attribute values; a control character, which XML cannot hold, becomes `?`. */
export function escapeXml(text: string): string {
  let escaped = "";
  for (const character of text) escaped += ENTITIES[character] ?? (character < " " ? "?" : character);
  return escaped;
}

/** A pattern as a test: without regard to case, `*` stands for any characters, everything else for itself. */
export function namePattern(pattern: string): (text: string) => boolean {
  const expression = new RegExp(`^${pattern.split("*").map(escapeRegExp).join(".*")}$`, "is");
  return (text) => expression.test(text);
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

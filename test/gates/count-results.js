// Adds up vitest's JSON results: FOLDER PROJECT...; ends with the plain line "N passed, N failed, N skipped".
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const [folder, ...projects] = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: 0 };
for (const project of projects) {
  const file = join(folder, `${project}.json`);
  if (!existsSync(file)) {
    console.log(`${project}: no result`);
    total.failed++;
    continue;
  }
  const result = JSON.parse(readFileSync(file, "utf8"));
  const skipped = result.numPendingTests + result.numTodoTests;
  // A file that fails before its first test, or in what goes before a group of them, counts as a suite only.
  const brokenFiles = result.testResults.filter(
    ({ status, assertionResults }) =>
      status === "failed" && !assertionResults.some((test) => test.status === "failed"),
  );
  const failed = result.numFailedTests + brokenFiles.length;
  console.log(`${project}: ${result.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
  total.passed += result.numPassedTests;
  total.failed += failed;
  total.skipped += skipped;
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);

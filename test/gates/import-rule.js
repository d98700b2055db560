// Runs the import rule over src/, and proves that it can fail: a planted violation must be found, and the
// number of modules seen must match the files that are there.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { cruise } from "dependency-cruiser";
import extractConfig from "dependency-cruiser/config-utl/extract-depcruise-config";
import extractTsConfig from "dependency-cruiser/config-utl/extract-ts-config";

const ruleSet = await extractConfig("./.dependency-cruiser.json");
const tsConfig = extractTsConfig("./tsconfig.json");

async function violationsUnder(folder) {
  const { forbidden, options } = ruleSet;
  const result = await cruise([folder], { ...options, ruleSet: { forbidden }, validate: true }, undefined, {
    tsConfig,
  });
  return result.output;
}

const canary = "src/image/canary.planted.ts";
mkdirSync("src/image", { recursive: true });
writeFileSync(canary, 'import { main } from "../cli/main.ts";\nexport const planted = main;\n');
let planted;
try {
  planted = await violationsUnder("src");
} finally {
  rmSync(canary);
}
const found = planted.summary.violations.some((violation) => violation.from === canary);
if (!found) fail("the import rule does not find a planted violation: it is not looking");

const result = await violationsUnder("src");
const files = readdirSync("src", { recursive: true }).filter((name) => name.endsWith(".ts"));
const seen = result.modules.filter((module) => module.source.startsWith("src/")).length;
if (seen < files.length) fail(`the import rule saw ${seen} of ${files.length} modules`);
for (const { from, to, rule } of result.summary.violations) console.error(`${rule.name}: ${from} -> ${to}`);
if (result.summary.violations.length > 0) fail(`${result.summary.violations.length} imports break the rule`);
console.log(`import rule: ${seen} modules, no violation`);

function fail(message) {
  console.error(message);
  process.exit(1);
}

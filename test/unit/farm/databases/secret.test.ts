import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readSecret } from "../../../../src/farm/databases/secret.ts";

const VARIABLE = "DOPPEL_TEST_SECRET";

it("a secret comes from a variable or a file, without the newline at its end", async () => {
  const folder = mkdtempSync(join(tmpdir(), "doppel-secret-"));
  const file = join(folder, "secret");
  writeFileSync(file, " two words\n");
  process.env[VARIABLE] = "from the environment";
  try {
    expect(await readSecret({ env: VARIABLE })).toBe("from the environment");
    expect(await readSecret({ file })).toBe(" two words");
  } finally {
    delete process.env[VARIABLE];
    rmSync(folder, { recursive: true });
  }
});

it("a secret that is not there is told by the name of its reference", async () => {
  await expect(readSecret({ env: VARIABLE })).rejects.toMatchObject({
    code: "secret-missing",
    message: expect.stringContaining(VARIABLE),
  });
  await expect(readSecret({ file: "/nowhere/secret" })).rejects.toMatchObject({
    code: "ENOENT",
    message: expect.stringContaining("/nowhere/secret"),
  });
});

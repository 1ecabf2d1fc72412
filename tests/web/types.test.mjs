import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const compiler = fileURLToPath(new URL("node_modules/typescript/bin/tsc", import.meta.url));
const skip = existsSync(compiler) ? false : "TypeScript is not installed: run `npm ci` in tests/web";

test("the compiler finds nothing wrong with the types", { skip }, () => {
  const { status, stdout } = spawnSync(process.execPath, [compiler, "--project", here], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

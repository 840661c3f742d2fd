// node classify.mjs models/support [TARGET] < texts.jsonl: a line of JSON for each line, which is a JSON string.

import { createInterface } from "node:readline";

import { Classifier } from "./classifier.mjs";

const [, , path, target] = process.argv;
const classifier = await Classifier.load(path, {
  // Right for texts in which the redactor finds nothing and no rule fires: docs/other-languages.md says what to add.
  redact: (text) => text,
  rule: () => null,
  target: target === undefined ? undefined : Number(target),
});
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await classifier.predict(JSON.parse(line))));
}

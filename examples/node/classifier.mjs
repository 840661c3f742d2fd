// A bundle in Node.js: what inference/classifier.py does after redaction and rules, which you give.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { Tokenizer } from "@huggingface/tokenizers";

import { Exit } from "./exit.mjs";

// onnxruntime starts its telemetry as it is loaded, unless this is set by then.
process.env.ORT_DISABLE_TELEMETRY ??= "1";
const ort = createRequire(import.meta.url)("onnxruntime-node");

const SCHEMAS = [1, 2, 3];
const CHARACTERS_PER_TOKEN = 32;
const READ_BEFORE_REDACTION = 4;
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;

export class Classifier {
  /**
   * Load models/<name>, or one version's folder.
   *
   * `redact(text)` is your port of the bundle's redactor; `text => text` only where texts hold nothing that it would
   * replace. `rule(redacted)` is your port of the bundle's rules: {intent, confidence} of the first that fires, or null.
   * `target` picks the certificate, by default the one that the bundle was trained for.
   */
  static async load(path, { redact, rule, target } = {}) {
    const folder = versionIn(path);
    const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
    if (!SCHEMAS.includes(manifest.schema)) throw new Error(`${folder} has schema ${manifest.schema}: not known here`);
    if (typeof redact !== "function") throw new Error(`${folder} was trained on redacted texts: give \`redact\``);
    const certificate = choose(manifest, target ?? manifest.target);
    const rules = manifest.rules?.filter((each) => each.confidence >= certificate?.target) ?? [];
    if (certificate && rules.length && !rule) throw new Error(`${folder} has certified rules: give \`rule\``);
    const read = (name) => verified(folder, manifest, name);
    const session = await ort.InferenceSession.create(read("model.onnx"), {
      executionProviders: ["cpu"],
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      extra: { optimization: { disable_specified_optimizers: "SkipLayerNormFusion" } },
    });
    const exit = certificate?.exit_above == null ? null : new Exit(read("exit.npz"));
    const tokenizer = new Tokenizer(JSON.parse(read("tokenizer.json")), {});
    return new Classifier({ manifest, certificate, session, exit, tokenizer, redact, rule });
  }

  constructor(parts) {
    Object.assign(this, parts);
    this.never = new Set(this.manifest.never_accepted);
    this.mostCharacters = this.manifest.max_tokens * CHARACTERS_PER_TOKEN;
  }

  /** {intent, confidence, accepted, source} of one text. */
  async predict(text) {
    const redacted = this.redact(this.beginning(text));
    const fired = this.certificate && this.rule ? this.rule(redacted) : null;
    if (fired) return { ...fired, accepted: !this.never.has(fired.intent), source: "rules" };
    const ids = this.ids(redacted);
    return this.byExit(ids) ?? (await this.byStudent(ids));
  }

  /** What is read of a text: all of it, unless it is very long. Lengths count code points, as Python's do. */
  beginning(text) {
    if (text.length <= this.mostCharacters || [...text].length <= this.mostCharacters) return text;
    const words = text.split(WHITE_SPACE).filter((word) => word);
    return first(words.join(" "), READ_BEFORE_REDACTION * this.mostCharacters);
  }

  /** Token ids, as many as the student reads. A bundle's tokenizer adds one token before the text, and none after it. */
  ids(redacted) {
    const text = first(redacted, this.mostCharacters).toWellFormed();
    return this.tokenizer.encode(text).ids.slice(0, this.manifest.max_tokens);
  }

  byExit(ids) {
    const logits = this.exit?.logits(ids);
    if (!logits) return null;
    const found = this.best(softmax(logits), this.certificate.exit_above, "exit");
    return found.accepted ? found : null;
  }

  async byStudent(ids) {
    const input = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
    const output = await this.session.run({ input_ids: input });
    const logits = Array.from(output[this.session.outputNames[0]].data, (logit) => logit / this.manifest.temperature);
    return this.best(softmax(logits), this.certificate?.accept_above ?? Infinity, "student");
  }

  best(scores, above, source) {
    const at = scores.indexOf(Math.max(...scores));
    const [intent, confidence] = [this.manifest.labels[at], scores[at]];
    return { intent, confidence, accepted: confidence > above && !this.never.has(intent), source };
  }
}

function versionIn(path) {
  if (existsSync(join(path, "manifest.json"))) return path;
  return join(path, readFileSync(join(path, "current"), "utf8").trim());
}

/** The certificate for a target; null where it has no threshold, so that nothing is accepted. */
function choose(manifest, target) {
  const found = manifest.certificates.find((each) => each.target === target);
  if (!found) throw new Error(`the bundle has no certificate for target ${target}`);
  return found.accept_above === null ? null : found;
}

function verified(folder, manifest, name) {
  const content = readFileSync(join(folder, name));
  if (createHash("sha256").update(content).digest("hex") !== manifest.files[name]) {
    throw new Error(`${folder}: ${name} was altered`);
  }
  return content;
}

function first(text, characters) {
  return text.length <= characters ? text : [...text].slice(0, characters).join("");
}

function softmax(logits) {
  const most = Math.max(...logits);
  const exponents = logits.map((logit) => Math.exp(logit - most));
  const sum = exponents.reduce((total, each) => total + each, 0);
  return exponents.map((each) => each / sum);
}

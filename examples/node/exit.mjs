// The early exit of a bundle: inference/bundle/exit.py, in JavaScript.

import { inflateRawSync } from "node:zlib";

const BITS = 17n;
const ONE = 0x9e3779b97f4a7c15n;
const NEXT = 0xc2b2ae3d27d4eb4fn;
const SECOND = 0x165667b19e3779f9n;
const APART = 0x27d4eb2f165667c5n;
const MIX = 0xd6e8feb86659fd93n;

const wrap = (number) => BigInt.asUintN(64, number);

function bucket(hashed) {
  const folded = hashed ^ (hashed >> 32n);
  return Number(wrap(folded * MIX) >> (64n - BITS));
}

/** The buckets of a text's tokens, pairs of neighbours, and pairs with one token between. */
export function buckets(ids) {
  const tokens = ids.map(BigInt);
  const hashed = tokens.map((token) => wrap(token * ONE));
  for (let i = 1; i < tokens.length; i++) {
    hashed.push(wrap(tokens[i - 1] * ONE + tokens[i] * NEXT));
  }
  for (let i = 2; i < tokens.length; i++) {
    hashed.push(wrap(tokens[i - 2] * ONE + tokens[i] * SECOND + APART));
  }
  return hashed.map(bucket);
}

export class Exit {
  /** `content` is the bundle's exit.npz, as a Buffer. */
  constructor(content) {
    const files = unzip(content);
    this.rows = array(files.get("rows.npy"), "<u2");
    this.weights = array(files.get("weights.npy"), "|i1");
    [this.scale, this.mostUnknown] = array(files.get("numbers.npy"), "<f8").values;
  }

  /** Logits of all labels; null for a text with too many unknown n-grams. */
  logits(ids) {
    const rows = buckets(ids).map((at) => this.rows.values[at]);
    const unknown = rows.filter((row) => row === 0).length;
    if (rows.length === 0 || unknown > this.mostUnknown * rows.length) return null;
    const width = this.weights.shape[1];
    const total = new Array(width).fill(0);
    for (const row of rows) {
      for (let label = 0; label < width; label++) total[label] += this.weights.values[row * width + label];
    }
    return total.map((sum) => sum * (this.scale / Math.sqrt(rows.length)));
  }
}

/** The files of a ZIP archive by name: what its central directory lists, stored or deflated. */
function unzip(content) {
  const end = content.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0) throw new Error("exit.npz is not a ZIP archive");
  const files = new Map();
  let at = content.readUInt32LE(end + 16);
  for (let left = content.readUInt16LE(end + 10); left > 0; left--) {
    const method = content.readUInt16LE(at + 10);
    const size = content.readUInt32LE(at + 20);
    const [name, extra, comment] = [28, 30, 32].map((place) => content.readUInt16LE(at + place));
    const local = content.readUInt32LE(at + 42);
    // The local header has a name and an extra field of its own lengths.
    const start = local + 30 + content.readUInt16LE(local + 26) + content.readUInt16LE(local + 28);
    const packed = content.subarray(start, start + size);
    files.set(content.toString("utf8", at + 46, at + 46 + name), method === 8 ? inflateRawSync(packed) : packed);
    at += 46 + name + extra + comment;
  }
  return files;
}

const TYPES = { "<u2": Uint16Array, "|i1": Int8Array, "<f8": Float64Array };

/** The shape and the values of an array in NumPy's format. */
function array(content, type) {
  const long = content[6] > 1;
  const start = long ? 12 : 10;
  const end = start + (long ? content.readUInt32LE(8) : content.readUInt16LE(8));
  const header = content.toString("latin1", start, end);
  const [, found] = header.match(/'descr': '([^']*)'/);
  if (found !== type || !header.includes("'fortran_order': False")) {
    throw new Error(`exit.npz has an array of type ${found}, expected ${type} in C order`);
  }
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((part) => part.trim()).map(Number);
  const bytes = content.buffer.slice(content.byteOffset + end, content.byteOffset + content.length);
  return { shape, values: new TYPES[type](bytes) };
}

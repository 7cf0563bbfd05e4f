import { mutatedJson } from './mutate-json.js';
import type { Random } from './random.js';

/** What there is to make inputs from. */
export interface Material {
  readonly pool: readonly Uint8Array[];
  readonly words: readonly Uint8Array[];
  readonly maxLength: number;
  /** Where JSON begins in an input, if it is any. */
  readonly jsonAt: number | undefined;
}

/** Bytes that begin, end or separate something in one of the formats, and the ends of ranges. */
const BYTES = Uint8Array.from(
  [0, 1, 9, 10, 13, 32, 127, 128, 129, 191, 192, 194, 224, 237, 240, 244, 255].concat(
    Array.from('"\\{}[]:,=+/-_.0129eEAaz!$\'', (symbol) => symbol.charCodeAt(0)),
  ),
);

type Mutation = (input: Uint8Array, random: Random, material: Material) => Uint8Array;

const flipBit: Mutation = (input, random) => {
  if (input.length > 0) input[random.below(input.length)] ^= 1 << random.below(8);
  return input;
};

const setByte: Mutation = (input, random) => {
  if (input.length > 0)
    input[random.below(input.length)] = random.of([random.of([...BYTES]), random.below(256)]);
  return input;
};

const insertByte: Mutation = (input, random) =>
  spliced(input, random.below(input.length + 1), 0, Uint8Array.of(random.of([...BYTES])));

const remove: Mutation = (input, random) => {
  const at = random.below(input.length + 1);
  return spliced(input, at, 1 + random.below(Math.min(32, input.length - at + 1)), new Uint8Array(0));
};

const truncate: Mutation = (input, random) => input.slice(0, random.below(input.length + 1));

const repeat: Mutation = (input, random) => {
  const at = random.below(input.length + 1);
  const piece = input.slice(at, at + 1 + random.below(64));
  const times = 1 + random.below(random.of([2, 2, 8, 64]));
  const pieces = new Uint8Array(piece.length * times);
  for (let i = 0; i < times; i++) pieces.set(piece, i * piece.length);
  return spliced(input, at, 0, pieces);
};

const move: Mutation = (input, random) => {
  const from = random.below(input.length + 1);
  const piece = input.slice(from, from + 1 + random.below(64));
  return spliced(input, random.below(input.length + 1), random.of([0, piece.length]), piece);
};

const insertWord: Mutation = (input, random, { words }) =>
  words.length === 0 ? input : spliced(input, random.below(input.length + 1), 0, random.of(words));

const replaceByWord: Mutation = (input, random, { words }) => {
  if (words.length === 0) return input;
  const word = random.of(words);
  return spliced(input, random.below(input.length + 1), random.of([word.length, 1 + random.below(40)]), word);
};

/** The beginning of one input and the end of another. */
const cross: Mutation = (input, random, { pool }) => {
  if (pool.length === 0) return input;
  const other = random.of(pool);
  const at = random.below(input.length + 1);
  const from = random.of([random.below(other.length + 1), Math.min(at, other.length)]);
  return spliced(input, at, input.length, other.subarray(from));
};

const graft: Mutation = (input, random, { pool }) => {
  if (pool.length === 0) return input;
  const other = random.of(pool);
  const from = random.below(other.length + 1);
  const piece = other.subarray(from, from + 1 + random.below(200));
  return spliced(input, random.below(input.length + 1), random.of([0, piece.length]), piece);
};

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  flipBit,
  setByte,
  setByte,
  insertByte,
  remove,
  remove,
  truncate,
  repeat,
  move,
  insertWord,
  replaceByWord,
  cross,
  graft,
];

/** A new input: one of the pool, changed in a few places. The pool is not touched. */
export function mutated(random: Random, material: Material): Uint8Array {
  const { pool, maxLength, jsonAt } = material;
  // What was found last leads further more often than what was there before.
  const recent = pool.length > 16 && random.below(3) === 0 ? pool.slice(-16) : pool;
  let input: Uint8Array = pool.length === 0 ? new Uint8Array(0) : Uint8Array.from(random.of(recent));
  if (jsonAt !== undefined && random.below(3) > 0) {
    const changed = withJson(input, jsonAt, random);
    if (changed && changed.length <= maxLength) return changed;
  }
  const count = 1 + random.below(random.of([1, 2, 4, 8]));
  for (let i = 0; i < count; i++) input = random.of(MUTATIONS)(input, random, material);
  return input.length > maxLength ? input.slice(0, maxLength) : input;
}

/** The same with a few changes to the JSON in it. */
function withJson(input: Uint8Array, at: number, random: Random): Uint8Array | undefined {
  let json: string | undefined = new TextDecoder().decode(input.subarray(at));
  const count = 1 + random.below(3);
  for (let i = 0; i < count && json !== undefined; i++) json = mutatedJson(json, random);
  return json === undefined ? undefined : spliced(input, at, input.length, new TextEncoder().encode(json));
}

function spliced(input: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array {
  const rest = input.subarray(Math.min(at + removed, input.length));
  const result = new Uint8Array(at + added.length + rest.length);
  result.set(input.subarray(0, at));
  result.set(added, at);
  result.set(rest, at + added.length);
  return result;
}

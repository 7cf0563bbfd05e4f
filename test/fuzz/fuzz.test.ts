import fc from 'fast-check';
import { expect, it } from 'vitest';
import { inputsOf } from '../../fuzz/corpus.js';
import { Seen, type Target } from '../../fuzz/target.js';
import { targets } from '../../fuzz/targets/index.js';
import { runs } from '../support/runs.js';

/** Values that are wrong somewhere, or right where another type was. */
const VALUES = [null, true, '', 'x', '\0', '\ud800', '\ufeff', 'AAA=', [], {}, [[]]];
const NUMBERS = [0, -1, 1.5, 2 ** 53, 1e300];
const NAMES = ['', '__proto__', 'constructor', 'toJSON', 'a', '\0', '\u{1f600}', '\uffff'];

/** Inputs of a target: what it begins with, changed in a few places, and anything else. */
function inputs(target: Target): fc.Arbitrary<Uint8Array> {
  const { words, jsonAt, maxLength = 4096 } = target;
  const pool = inputsOf(target);
  const encoder = new TextEncoder();
  const piece = fc
    .tuple(fc.constantFrom(...pool), fc.nat(), fc.nat(200))
    .map(([input, at, length]) => input.subarray(at % (input.length + 1)).subarray(0, length));
  const inserted = fc.oneof(
    fc.constant(new Uint8Array(0)),
    fc.uint8Array({ maxLength: 8 }),
    fc.constantFrom(...words).map((word) => encoder.encode(word)),
    piece,
  );
  const removed = fc.oneof(fc.nat(2), fc.nat(40), fc.nat(maxLength));
  const edits = fc.array(fc.tuple(fc.nat(), removed, inserted), { minLength: 1, maxLength: 8 });
  const edited = fc
    .tuple(fc.constantFrom(...pool), edits)
    .map(([input, changes]) =>
      changes.reduce(
        (bytes, [at, length, added]) => spliced(bytes, at % (bytes.length + 1), length, added),
        input,
      ),
    );
  const bytes = fc.uint8Array({ maxLength: 300 });
  if (jsonAt === undefined) return fc.oneof({ arbitrary: edited, weight: 5 }, bytes);

  const head = fc.uint8Array({ minLength: jsonAt, maxLength: jsonAt });
  const withJson = (start: Uint8Array, json: string) => spliced(encoder.encode(json), 0, 0, start);
  const anyJson = fc.tuple(head, fc.json()).map(([start, json]) => withJson(start, json));
  const changedJson = fc
    .tuple(
      fc.constantFrom(...pool.filter((input) => isJson(input, jsonAt))),
      fc.array(jsonEdit, { minLength: 1, maxLength: 3 }),
    )
    .map(([input, changes]) =>
      withJson(input.subarray(0, jsonAt), changes.reduce(changeJson, text(input, jsonAt))),
    );
  return fc.oneof({ arbitrary: edited, weight: 3 }, { arbitrary: changedJson, weight: 5 }, anyJson, bytes);
}

function spliced(input: Uint8Array, at: number, removed: number, added: Uint8Array): Uint8Array {
  return Uint8Array.of(...input.subarray(0, at), ...added, ...input.subarray(at + removed));
}

function text(input: Uint8Array, at: number): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(input.subarray(at));
}

function isJson(input: Uint8Array, at: number): boolean {
  try {
    JSON.parse(text(input, at));
    return true;
  } catch {
    return false;
  }
}

/** One value is replaced, removed, renamed, varied, or gives its place to another. */
const jsonEdit = fc.record({
  place: fc.nat(),
  from: fc.nat(),
  name: fc.constantFrom(...NAMES),
  value: fc.oneof(fc.constantFrom<unknown>(...VALUES, ...NUMBERS), fc.jsonValue()),
  number: fc.constantFrom(...NUMBERS),
  kind: fc.constantFrom('replace', 'remove', 'rename', 'copy', 'vary'),
});

type JsonEdit = typeof jsonEdit extends fc.Arbitrary<infer T> ? T : never;

function changeJson(json: string, { place, from, name, value, number, kind }: JsonEdit): string {
  const root = { '': JSON.parse(json) as unknown };
  const places = placesOf(root);
  const [parent, key] = places[place % places.length];
  const [otherParent, otherKey] = places[from % places.length];
  const other = structuredClone(otherParent[otherKey]);
  const own = parent[key];
  if (kind === 'replace') put(parent, key, value);
  else if (kind === 'copy') put(parent, key, other);
  else if (kind === 'vary') put(parent, key, typeof own === 'string' ? own + name : number);
  else if (parent !== root && Array.isArray(parent)) parent.splice(Number(key), 1);
  else if (parent !== root) Reflect.deleteProperty(parent, key);
  if (kind === 'rename' && parent !== root && !Array.isArray(parent)) put(parent, name, own);
  return JSON.stringify(root['']);
}

type Container = Record<string, unknown>;

/** Every value with the object or array that holds it. */
function placesOf(parent: Container): [parent: Container, key: string][] {
  return Object.keys(parent).flatMap((key) => {
    const value = parent[key];
    const inner = typeof value === 'object' && value !== null ? placesOf(value as Container) : [];
    return [[parent, key], ...inner];
  });
}

/** Assignment would make `__proto__` a prototype. */
function put(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, configurable: true, enumerable: true, writable: true });
}

async function fuzz(target: Target, numRuns: number): Promise<Seen> {
  const seen = new Seen();
  const property = fc.asyncProperty(inputs(target), async (input) => target.run(input.slice(), seen));
  await fc.assert(property, { numRuns });
  return seen;
}

it.each(targets)('$name holds for its corpus, for inputs like it and for others', async (target) => {
  const corpus = new Seen();
  for (const input of inputsOf(target)) await target.run(input, corpus);
  const mutated = await fuzz(target, runs(5000));
  // A target that accepts everything, or nothing, proves nothing. Changed inputs with a checksum are rarely accepted.
  const outcomes = new Set([...corpus.counts.keys(), ...mutated.counts.keys()]);
  expect(outcomes.size).toBeGreaterThan(1);
  expect(outcomes).toContain('accepted');
});

it('finds an input that breaks a target, and shortens it', async () => {
  const broken: Target = {
    name: 'broken',
    words: ['!'],
    seeds: () => ['some harmless text'],
    run(input) {
      if (input.includes(0x21)) throw new RangeError('an exclamation mark');
    },
  };
  await expect(fuzz(broken, 1000)).rejects.toThrow(/Counterexample: \[Uint8Array\.from\(\[33[,\]]/);
});

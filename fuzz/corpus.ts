import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Target } from './target.js';

/** A line of the corpus: the name of the target, and text, or bytes that are not UTF-8. */
type Line = Readonly<Partial<Record<string, string | { readonly base64: string }>>>;

/** The inputs to begin with: those of the target itself and its lines of `corpus.jsonl`. Runs in the root. */
export function inputsOf({ name, seeds }: Target): Uint8Array[] {
  const lines = readFileSync(join('fuzz', 'corpus.jsonl'), 'utf8').trimEnd().split('\n');
  const kept = lines.map((line) => (JSON.parse(line) as Line)[name]).filter((input) => input !== undefined);
  return [...seeds(), ...kept].map((input) => {
    if (typeof input === 'string') return new TextEncoder().encode(input);
    return input instanceof Uint8Array ? input : Uint8Array.from(Buffer.from(input.base64, 'base64'));
  });
}

/** A case of a vector file, as far as the fuzzing takes inputs from it. */
export type VectorCase = Readonly<Record<string, unknown>>;

/** The cases of a file of test vectors: inputs that are right, or wrong in an interesting place. */
export function vectorCases(name: string): readonly VectorCase[] {
  const text = readFileSync(join('vectors', `${name}.json`), 'utf8');
  return (JSON.parse(text) as { cases: VectorCase[] }).cases;
}

/** One field of the cases, where it is a text of at most that many characters. */
export function textsOf(name: string, field: string, most = 3000): string[] {
  return vectorCases(name)
    .map((one) => one[field])
    .filter((text) => typeof text === 'string')
    .filter((text) => text.length <= most);
}

/** One field of the cases as JSON, where it is present and at most that long. */
export function jsonsOf(name: string, field: string, most = 3000): string[] {
  return vectorCases(name)
    .filter((one) => one[field] !== undefined)
    .map((one) => JSON.stringify(one[field]))
    .filter((text) => text.length <= most);
}

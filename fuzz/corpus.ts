import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Target } from './target.js';

/** A line of a corpus: text, or bytes that are not UTF-8. */
type Line = string | { readonly base64: string };

/** The inputs to begin with: those of the target itself and those of its file in `fuzz/corpus`. Runs in the root. */
export function inputsOf({ name, seeds }: Target): Uint8Array[] {
  const file = join('fuzz', 'corpus', `${name}.jsonl`);
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [];
  return [...seeds(), ...lines.map((line) => bytesOf(JSON.parse(line) as Line))].map((input) =>
    typeof input === 'string' ? new TextEncoder().encode(input) : input,
  );
}

function bytesOf(line: Line): string | Uint8Array {
  return typeof line === 'string' ? line : Uint8Array.from(Buffer.from(line.base64, 'base64'));
}

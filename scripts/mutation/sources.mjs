// The source files that are mutated, and how to see whether one has changed since.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';

/** Files that are only types and re-exports. */
const NOTHING_TO_MUTATE = ['src/engine/index.ts', 'src/engine/rescue.ts', 'src/api/types.ts'];

/** Paths from the root of the project. */
export const SOURCES = ['src/engine', 'src/api'].flatMap((folder) =>
  readdirSync(folder)
    .sort()
    .map((name) => `${folder}/${name}`)
    .filter((path) => !NOTHING_TO_MUTATE.includes(path)),
);

/** The same as long as the text is. */
export function hashOf(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);
}

/** Where run.mjs leaves what came of it: a row for each file. */
const RESULTS = new URL('results.json', import.meta.url);

export function readResults() {
  return JSON.parse(readFileSync(RESULTS, 'utf8'));
}

export { RESULTS };

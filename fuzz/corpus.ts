import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Most bytes that are kept for one target. */
const MOST_BYTES = 12_000;

/** Where the inputs of a target are kept, and those that broke it. Everything runs in the package's root. */
export function corpusFolder(target: string): string {
  return join('fuzz', 'corpus', target);
}

export function findingsFolder(): string {
  return join('fuzz', 'findings');
}

/** The inputs that are kept of a target. */
export function readCorpus(target: string): Uint8Array[] {
  const folder = corpusFolder(target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => new Uint8Array(readFileSync(join(folder, name))));
}

/** Keeps these inputs instead of those that were there: each once, the first ones until there are too many bytes. */
export function writeCorpus(target: string, inputs: readonly Uint8Array[]): { files: number; bytes: number } {
  const folder = corpusFolder(target);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const names = new Set<string>();
  let bytes = 0;
  for (const input of inputs) {
    const name = nameOf(input);
    if (names.has(name) || bytes + input.length > MOST_BYTES) continue;
    names.add(name);
    bytes += input.length;
    writeFileSync(join(folder, name), input);
  }
  return { files: names.size, bytes };
}

/** Keeps an input that broke something. Returns the file's name. */
export function writeFinding(target: string, input: Uint8Array): string {
  mkdirSync(findingsFolder(), { recursive: true });
  const file = join(findingsFolder(), `${target}-${nameOf(input)}`);
  writeFileSync(file, input);
  return file;
}

function nameOf(input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}

import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { isJsonObject } from '../engine/json.js';
import { InputError, parseCommand } from './command.js';
import { systemError } from './system-error.js';
import type { Terminal } from './terminal.js';
import type { CaseFields } from './vector-cases.js';
import { faultOf } from './vector-fault.js';
import { printable } from '../engine/quote.js';

export const usage = `usage: megolm-backup vectors [FILE ...]

Runs test vector files (format megolm-backup-vectors/1) on this package: those given, or all that come with it.
Prints a line for every case that fails and at last how many passed and failed.

Exit code 0 when all passed, 1 when some failed, 2 for a file that cannot be read.

example:
  megolm-backup vectors
  megolm-backup vectors my-vectors.json
`;

const FORMAT = 'megolm-backup-vectors/1';

/** `megolm-backup vectors` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { positionals } = parseCommand(args, {}, undefined);
  const paths = positionals.length > 0 ? positionals : await ownVectors();
  let passed = 0;
  let failed = 0;
  for (const path of paths) {
    terminal.signal.throwIfAborted();
    const { kind, cases } = await readVectors(path);
    for (const fields of cases) {
      const fault = await faultOf(kind, fields);
      if (fault === undefined) {
        passed++;
      } else {
        failed++;
        terminal.stdout(`${path}: ${printable(`${String(fields.id)}: ${fault}`)}\n`);
      }
    }
  }
  terminal.stdout(`${passed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

interface VectorFile {
  readonly kind: string;
  readonly cases: readonly CaseFields[];
}

/** The files beside the package's code that are vectors; a sample export and a schema lie there too. */
async function ownVectors(): Promise<string[]> {
  const folder = fileURLToPath(new URL('../../vectors/', import.meta.url));
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  const paths = names.map((name) => `${folder}${name}`);
  const isVectors = await Promise.all(paths.map(async (path) => hasFormat(await readFile(path, 'utf8'))));
  return paths.filter((_, i) => isVectors[i]);
}

function hasFormat(text: string): boolean {
  const file: unknown = JSON.parse(text);
  return isJsonObject(file) && file.format === FORMAT;
}

async function readVectors(path: string): Promise<VectorFile> {
  let file: unknown;
  try {
    file = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    const why = cause instanceof SyntaxError ? 'no JSON' : systemError(cause);
    throw new InputError(`cannot read ${path} (${why})`, { cause });
  }
  if (!isJsonObject(file) || file.format !== FORMAT || !Array.isArray(file.cases)) {
    throw new InputError(`${path}: expected a vector file of format ${FORMAT}`);
  }
  const cases = file.cases as readonly unknown[];
  if (!cases.every(isJsonObject)) throw new InputError(`${path}: expected every case to be an object`);
  return { kind: String(file.kind), cases };
}

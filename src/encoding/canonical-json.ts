import { KeyBackupError, describe } from '../errors.js';
import { excerpt } from './quote.js';
import { utf8Encode } from './utf8.js';

/** Deeper than any signed object nests; hostile input must not exhaust the stack. */
const MAX_DEPTH = 512;

/**
 * The Matrix canonical JSON of a value: the text that a signature covers.
 *
 * Keys sorted by Unicode code point (not by UTF-16 unit), shortest escapes, integers within ±(2^53 − 1), no
 * fractions, no exponents, −0 as 0. Not RFC 8785, which sorts by UTF-16 unit and accepts floats.
 *
 * @see https://spec.matrix.org/v1.19/appendices/#canonical-json
 * @param value - A value as from `JSON.parse`. Own enumerable keys count, whatever the prototype.
 * @returns The canonical text; a signature covers its UTF-8 bytes.
 * @throws {@link KeyBackupError} `bad-canonical-json`, naming the JSON path, for a number outside the range or
 * with a fraction, a lone surrogate, a value that is not JSON (`undefined`), and more than 512 levels of nesting.
 *
 * @example
 * ```ts
 * import { canonicalJson } from 'megolm-backup/engine';
 *
 * console.log(canonicalJson({ b: 1e3, a: ['ä', null] })); // {"a":["ä",null],"b":1000}
 * ```
 */
export function canonicalJson(value: unknown): string {
  return write(value, '$', 0);
}

/** What a signature or a MAC of an object covers: all but its own `signatures` and `unsigned`, as bytes. */
export function signedBytes(object: object): Uint8Array {
  const covered = Object.entries(object).filter(([name]) => name !== 'signatures' && name !== 'unsigned');
  // fromEntries defines own properties, so a field named __proto__ is covered too.
  return utf8Encode(canonicalJson(Object.fromEntries(covered)));
}

function write(value: unknown, path: string, depth: number): string {
  if (depth > MAX_DEPTH) throw rejection('$', `at most ${MAX_DEPTH} levels of nesting`, 'more');
  if (value === null) return 'null';
  switch (typeof value) {
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      if (!Number.isSafeInteger(value))
        throw rejection(path, 'an integer within ±(2^53 − 1)', 'another number');
      return String(value === 0 ? 0 : value);
    case 'string':
      return writeString(value, path);
    case 'object':
      return Array.isArray(value) ? writeArray(value, path, depth) : writeObject(value, path, depth);
    default:
      throw rejection(path, 'a JSON value', describe(value));
  }
}

function writeArray(values: readonly unknown[], path: string, depth: number): string {
  // Array.from also visits holes, which are then rejected as `undefined`.
  return `[${Array.from(values, (value, i) => write(value, `${path}[${i}]`, depth + 1)).join(',')}]`;
}

function writeObject(object: object, path: string, depth: number): string {
  const members = Object.keys(object)
    .sort(compareCodePoints)
    .map((key) => {
      const name = writeString(key, path);
      return `${name}:${write((object as Record<string, unknown>)[key], `${path}[${name}]`, depth + 1)}`;
    });
  return `{${members.join(',')}}`;
}

function writeString(text: string, path: string): string {
  // With the flag `u` this does not match within a surrogate pair.
  if (/[\ud800-\udfff]/u.test(text)) throw rejection(path, 'Unicode text', 'a lone surrogate');
  // JSON.stringify writes the shortest escapes, and lower-case \u00xx for the other control characters.
  return JSON.stringify(text);
}

function rejection(path: string, expected: string, got: string): KeyBackupError {
  return new KeyBackupError('bad-canonical-json', `${excerpt(path)}: expected ${expected}, got ${got}`);
}

/** Orders two strings by code point. UTF-16 order puts the astral planes before U+E000 to U+FFFF. */
function compareCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** The rank of a UTF-16 unit in code point order: surrogates, which start astral characters, come last. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

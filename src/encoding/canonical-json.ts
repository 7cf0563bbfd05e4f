import { KeyBackupError, describe } from '../errors.js';
import { excerpt } from './quote.js';

/** Deeper nesting than any signed object has; a bound, so that hostile input cannot exhaust the stack. */
const MAX_DEPTH = 512;

/**
 * Matrix canonical JSON of a value: the text that is signed.
 *
 * Keys sorted by Unicode code point (not by UTF-16 unit), shortest escapes, integers within ±(2^53 − 1), no
 * fractions, no exponents, −0 written as 0. It is not RFC 8785, which sorts otherwise and takes floats.
 *
 * @see https://spec.matrix.org/v1.19/appendices/#canonical-json
 * @param value - JSON as `JSON.parse` gives it; objects of any prototype, their own enumerable keys count.
 * @returns The canonical text; its UTF-8 bytes are what a signature covers.
 * @throws {@link KeyBackupError} `bad-canonical-json`, naming the JSON path, for numbers outside the range or
 * with a fraction, lone surrogates, `undefined` and other values that are not JSON, and nesting over 512.
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

function write(value: unknown, path: string, depth: number): string {
  if (depth > MAX_DEPTH) throw refused('$', `at most ${MAX_DEPTH} levels of nesting`, 'more');
  if (value === null) return 'null';
  switch (typeof value) {
    case 'boolean':
      return value ? 'true' : 'false';
    case 'number':
      if (!Number.isSafeInteger(value))
        throw refused(path, 'an integer within ±(2^53 − 1)', 'another number');
      return String(value === 0 ? 0 : value);
    case 'string':
      return writeString(value, path);
    case 'object':
      return Array.isArray(value) ? writeArray(value, path, depth) : writeObject(value, path, depth);
    default:
      throw refused(path, 'a JSON value', describe(value));
  }
}

function writeArray(values: readonly unknown[], path: string, depth: number): string {
  // Array.from visits holes too, which then are refused as `undefined`.
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
  // In Unicode mode this matches a surrogate only where it has no partner.
  if (/[\ud800-\udfff]/u.test(text)) throw refused(path, 'Unicode text', 'a lone surrogate');
  // JSON.stringify writes the shortest escapes, and lower-case \u00xx for the other control characters.
  return JSON.stringify(text);
}

function refused(path: string, expected: string, got: string): KeyBackupError {
  return new KeyBackupError('bad-canonical-json', `${excerpt(path)}: expected ${expected}, got ${got}`);
}

/** Orders two strings by code point. UTF-16 puts the astral planes before U+E000..U+FFFF; this does not. */
export function compareCodePoints(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** A UTF-16 unit's place in code point order: surrogates, which begin astral characters, come last. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}

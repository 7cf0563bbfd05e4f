import { KeyBackupError, describe } from '../errors.js';
import { quote } from './quote.js';
import { utf8Decode } from './utf8.js';

/** A JSON object with unchecked fields. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Deeper than any room key nests; recursion over a parsed value stays safe. */
const MAX_DEPTH = 512;

/** The bound of {@link parseJson}: deep JSON is cheap to read, but writing it again overflows the stack. */
export const MAX_JSON_DEPTH = 100;

/** Whether a value is an object in JSON's sense: not null, not an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws {@link KeyBackupError} `bad-json` unless the value is a JSON object. */
export function expectObject(value: unknown, field: string): JsonObject {
  if (!isJsonObject(value)) {
    throw new KeyBackupError('bad-json', `${field}: expected an object, got ${describe(value)}`);
  }
  return value;
}

/** @throws {@link KeyBackupError} `missing-field` when the field is absent, `bad-json` when it is not a string. */
export function expectString(object: JsonObject, name: string, field: string): string {
  const value = ownValue(object, name);
  if (value === undefined)
    throw new KeyBackupError('missing-field', `${field}.${name}: expected a string, got nothing`);
  if (typeof value !== 'string') {
    throw new KeyBackupError('bad-json', `${field}.${name}: expected a string, got ${describe(value)}`);
  }
  return value;
}

/** An own field of the object, never one of its prototype. */
export function ownValue(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** An own string field of a value; `undefined` when the field is not a string or the value is not an object. */
export function ownString(value: unknown, name: string): string | undefined {
  const field = isJsonObject(value) ? ownValue(value, name) : undefined;
  return typeof field === 'string' ? field : undefined;
}

/** Parses a JSON object of at most 512 levels. Unlike {@link parseJson} it accepts every number and string. */
export function parseObject(text: string, field: string): JsonObject {
  return expectObject(parseShallow(text, field), field);
}

/** {@link parseObject} of any JSON value. */
export function parseShallow(text: string, field: string): unknown {
  const value = parseAny(text, field);
  expectShallow(value, text, field);
  return value;
}

/** `JSON.parse`, but `bad-json` instead of the parser's error, which quotes the text. */
export function parseAny(text: string, field: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KeyBackupError('bad-json', `${field}: expected JSON, got something else`);
  }
}

/**
 * A copy of what JSON holds of a value, without calling its `toJSON`; `undefined` for what JSON leaves out. Throws
 * `bad-json` for a bigint, a cycle, and over 512 levels.
 */
export function plainJson(value: unknown, field: string, depth = 0): unknown {
  if (typeof value === 'bigint')
    throw new KeyBackupError('bad-json', `${field}: expected JSON, got a bigint`);
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  if (depth > MAX_DEPTH) throw tooDeep(field);
  if (Array.isArray(value)) {
    const items = value as unknown[];
    return Array.from({ length: items.length }, (_, i) => plainJson(items[i], field, depth + 1));
  }
  const copy = {};
  for (const [name, item] of Object.entries(value)) {
    defineField(copy, name, plainJson(item, field, depth + 1));
  }
  return copy;
}

/** Sets a field that may have any name: assigned, one named `__proto__` would not become a field. */
export function defineField(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, configurable: true, enumerable: true, writable: true });
}

/** Rejects, by value and its JSON, what {@link parseObject} would reject for its depth. */
export function expectShallow(value: unknown, text: string, field: string): void {
  // A level takes two characters, so most texts are too short to nest that deeply.
  if (text.length > 2 * MAX_DEPTH && isDeeperThan(value, MAX_DEPTH)) throw tooDeep(field);
}

function tooDeep(field: string): KeyBackupError {
  return new KeyBackupError(
    'bad-json',
    `${field}: expected at most ${MAX_DEPTH} levels of nesting, got more`,
  );
}

function isDeeperThan(value: unknown, limit: number): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limit) return true;
    level = level.flatMap((item): unknown[] =>
      typeof item === 'object' && item !== null ? Object.values(item) : [],
    );
  }
  return false;
}

/**
 * Parses JSON text and rejects what `JSON.parse` would change: key data and `auth_data` must come back equal, since a
 * signature may cover them. `__proto__` becomes an own property, and of duplicate names the last one counts. Throws
 * `not-json`; `bad-json` with the path below `path` of a number that is not an integer within ±(2^53-1), of a lone
 * surrogate, or of more than 100 levels.
 */
export function parseJson(text: string, path = ''): unknown {
  if (LONE_SURROGATE.test(text)) {
    throw new KeyBackupError('bad-json', 'the text: expected Unicode, got a lone surrogate');
  }
  const fault = findFault(text);
  // Before the parse, which would hold the whole value in memory.
  if (fault?.kind === 'depth') throw faultError(text, fault, path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The platform's error quotes the text, so it is not kept as the cause.
    throw new KeyBackupError('not-json', 'the body: expected JSON, got text that does not parse');
  }
  if (fault) throw faultError(text, fault, path);
  return value;
}

/** {@link parseJson} of UTF-8 bytes; `not-json` for invalid UTF-8. */
export function parseJsonBytes(bytes: Uint8Array, path = ''): unknown {
  let text: string;
  try {
    text = utf8Decode(bytes, 'the body');
  } catch (cause) {
    throw new KeyBackupError('not-json', 'the body: expected UTF-8, got an invalid sequence', { cause });
  }
  return parseJson(text, path);
}

// A range, since not every engine knows `\p{Surrogate}`. With the flag `u` it does not match within a pair.
const LONE_SURROGATE = /[\ud800-\udfff]/u;

/** The only way to write a surrogate in well-formed text. */
const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;

interface Fault {
  readonly kind: 'depth' | 'fraction' | 'range' | 'surrogate';
  readonly offset: number;
}

const EXPECTED: Record<Fault['kind'], string> = {
  depth: `expected at most ${MAX_JSON_DEPTH} levels, got more`,
  fraction: 'expected an integer within ±(2^53-1), got a fraction',
  range: 'expected an integer within ±(2^53-1), got a larger number',
  surrogate: 'expected Unicode, got a lone surrogate in a string',
};

function faultError(text: string, fault: Fault, top: string): KeyBackupError {
  const path = fault.kind === 'depth' ? top : pathAt(text, fault.offset, top);
  const where = path === '' ? 'the body' : path;
  return new KeyBackupError('bad-json', `${where}: ${EXPECTED[fault.kind]}`);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The first fault in valid JSON text; the result for other text is meaningless. */
function findFault(text: string): Fault | undefined {
  const hasSurrogates = SURROGATE_ESCAPE.test(text);
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === QUOTE) {
      const end = endOfString(text, i);
      if (hasSurrogates && SURROGATE_ESCAPE.test(text.slice(i, end + 1))) {
        try {
          const string = JSON.parse(text.slice(i, end + 1)) as string;
          if (LONE_SURROGATE.test(string)) return { kind: 'surrogate', offset: i };
        } catch {
          // Not JSON; parsing the text will report it.
          return undefined;
        }
      }
      i = end;
    } else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > MAX_JSON_DEPTH) return { kind: 'depth', offset: i };
    } else if (unit === 0x7d || unit === 0x5d) {
      depth--;
    } else if (unit === 0x2d || (unit >= 0x30 && unit <= 0x39)) {
      let end = i + 1;
      let isInteger = true;
      for (; end < text.length; end++) {
        const next = text.charCodeAt(end);
        if (next >= 0x30 && next <= 0x39) continue;
        // + - . E e
        if (next !== 0x2b && next !== 0x2d && next !== 0x2e && next !== 0x45 && next !== 0x65) break;
        isInteger = false;
      }
      const kind = isInteger && end - i <= 15 ? undefined : numberFault(text.slice(i, end));
      if (kind) return { kind, offset: i };
      i = end - 1;
    }
  }
  return undefined;
}

/** Index of the closing quote of the string that opens at `start`; the length of the text if it does not close. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

/** Judges the digits as written: `1.00000000000000000001` parses to 1 but is a fraction. */
function numberFault(token: string): Fault['kind'] | undefined {
  const parts = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token);
  if (!parts) return undefined;
  const fraction = (parts[2] as string | undefined) ?? '';
  const digits = (parts[1] + fraction).replace(/^0+/, '');
  const significant = trimTrailingZeros(digits);
  if (significant === '') return undefined;
  const exponent =
    Number((parts[3] as string | undefined) ?? '0') - fraction.length + digits.length - significant.length;
  if (exponent < 0) return 'fraction';
  return Number.isSafeInteger(Number(token)) ? undefined : 'range';
}

/** A loop: a regular expression takes quadratic time on many zeros before another digit. */
function trimTrailingZeros(digits: string): string {
  let end = digits.length;
  while (end > 0 && digits.charCodeAt(end - 1) === 0x30) end--;
  return digits.slice(0, end);
}

/** The JSON path of the value or name at an offset of valid JSON text. Slow; for error messages. */
function pathAt(text: string, offset: number, top: string): string {
  // Null inside an object, before its first name.
  const steps: (string | number | null)[] = [];
  let name: string | undefined;
  for (let i = 0; i < offset; i++) {
    const character = text.charAt(i);
    if (character === '"') {
      const end = endOfString(text, i);
      name = text.slice(i, end + 1);
      i = end;
    } else if (character === ':') {
      steps[steps.length - 1] = JSON.parse(name ?? '""') as string;
    } else if (character === '{') {
      steps.push(null);
    } else if (character === '[') {
      steps.push(0);
    } else if (character === ',') {
      const last = steps[steps.length - 1];
      steps[steps.length - 1] = typeof last === 'number' ? last + 1 : null;
    } else if (character === '}' || character === ']') {
      steps.pop();
    }
  }
  return steps.reduce<string>((path, step) => (step === null ? path : jsonPath(path, step)), top);
}

/**
 * Appends a step to a JSON path, as in error messages: `rooms["!a:b"].sessions`. A name that is not a plain word is
 * quoted, cut after 255 characters.
 */
export function jsonPath(parent: string, step: string | number): string {
  if (typeof step === 'number') return `${parent}[${step}]`;
  if (/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(step)) return parent === '' ? step : `${parent}.${step}`;
  return `${parent}[${quote(step, 255)}]`;
}

import { KeyBackupError } from '../errors.js';
import { utf8Decode } from './utf8.js';
import { quote } from './quote.js';

/**
 * JSON as Matrix means it: text that would come out of `JSON.parse` changed is refused instead.
 *
 * Key data and `auth_data` have to come back equal (a signature may cover them), so a number beyond 2^53-1, a
 * fraction, `1e400` or a lone surrogate is an error here and not a silent rounding.
 */

/**
 * Nesting deeper than this is refused: reading deep JSON is cheap, but writing it again overflows the stack.
 */
export const MAX_JSON_DEPTH = 100;

/**
 * Parses JSON text without changing anything in it.
 *
 * Objects keep an own property called `__proto__`, as `JSON.parse` makes it; read them with `Object.hasOwn` or
 * through the validators of this storey. Of a name that stands twice the last value is taken.
 *
 * @param text - JSON text; a byte order mark is not JSON.
 * @returns The value, which belongs to the caller.
 * @throws {@link KeyBackupError} `not-json`; `bad-json` with the path of a number that is not an integer within
 * ±(2^53-1), of a lone surrogate, or of nesting deeper than {@link MAX_JSON_DEPTH}.
 *
 * @example
 * ```ts
 * parseJson('{"a":1e400}'); // throws bad-json: a: expected an integer within ±(2^53-1), got a larger number
 * ```
 */
export function parseJson(text: string): unknown {
  if (LONE_SURROGATE.test(text)) {
    throw new KeyBackupError('bad-json', 'the text: expected Unicode, got a lone surrogate');
  }
  return parseWellFormed(text);
}

/**
 * {@link parseJson} of UTF-8 bytes.
 *
 * @param path - Where the text stands, to begin the path in an error; default at the top.
 * @throws {@link KeyBackupError} As {@link parseJson}; invalid UTF-8 is `not-json`.
 */
export function parseJsonBytes(bytes: Uint8Array, path = ''): unknown {
  let text: string;
  try {
    text = utf8Decode(bytes, 'the body');
  } catch (cause) {
    throw new KeyBackupError('not-json', 'the body: expected UTF-8, got an invalid sequence', {
      cause,
    });
  }
  return parseWellFormed(text, path);
}

// By their range, since not every engine knows `\p{Surrogate}`; in a pair they are no characters of their own.
const LONE_SURROGATE = /[\ud800-\udfff]/u;

function parseWellFormed(text: string, top = ''): unknown {
  const fault = findFault(text);
  // Before the parse: it would hold all of it in memory.
  if (fault?.kind === 'depth') throw faultError(text, fault, top);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The platform's error is not kept as cause: it quotes the text.
    throw new KeyBackupError('not-json', 'the body: expected JSON, got text that does not parse');
  }
  if (fault) throw faultError(text, fault, top);
  return value;
}

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

/** The first thing in JSON text that would not survive. On text that is no JSON the answer means nothing. */
function findFault(text: string): Fault | undefined {
  // Without such an escape in the whole text no string can hold a lone surrogate.
  const surrogates = /\\u[dD][89a-fA-F]/.test(text);
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === QUOTE) {
      const end = endOfString(text, i);
      if (surrogates && holdsLoneSurrogate(text, i + 1, end)) return { kind: 'surrogate', offset: i };
      i = end;
    } else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > MAX_JSON_DEPTH) return { kind: 'depth', offset: i };
    } else if (unit === 0x7d || unit === 0x5d) {
      depth--;
    } else if (unit === 0x2d || (unit >= 0x30 && unit <= 0x39)) {
      const end = endOfNumber(text, i);
      const kind = end - i > 15 ? numberFault(text.slice(i, end)) : shortNumberFault(text, i, end);
      if (kind) return { kind, offset: i };
      i = end - 1;
    }
  }
  return undefined;
}

/** Index of the closing quote of the string that opens at `start`; the text's length if there is none. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

function endOfNumber(text: string, start: number): number {
  let end = start + 1;
  for (; end < text.length; end++) {
    const unit = text.charCodeAt(end);
    const digit = unit >= 0x30 && unit <= 0x39;
    // + - . E e
    if (!digit && unit !== 0x2b && unit !== 0x2d && unit !== 0x2e && unit !== 0x45 && unit !== 0x65) break;
  }
  return end;
}

function shortNumberFault(text: string, start: number, end: number): Fault['kind'] | undefined {
  for (let i = start + 1; i < end; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x30 || unit > 0x39) return numberFault(text.slice(start, end));
  }
  return undefined;
}

/** Decides on the digits as written: `1.00000000000000000001` parses to 1 and is a fraction all the same. */
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

/** A loop: the obvious regular expression takes quadratic time on many zeros before another digit. */
function trimTrailingZeros(digits: string): string {
  let end = digits.length;
  while (end > 0 && digits.charCodeAt(end - 1) === 0x30) end--;
  return digits.slice(0, end);
}

function holdsLoneSurrogate(text: string, start: number, end: number): boolean {
  let high = false;
  for (let i = start; i < end; i++) {
    let unit = text.charCodeAt(i);
    if (unit === BACKSLASH) {
      i++;
      if (text.charAt(i) !== 'u') {
        unit = 0;
      } else {
        unit = Number.parseInt(text.slice(i + 1, i + 5), 16);
        i += 4;
      }
    }
    const low = unit >= 0xdc00 && unit <= 0xdfff;
    if (low !== high) return true;
    high = unit >= 0xd800 && unit <= 0xdbff;
  }
  return high;
}

/** The JSON path of the value or name at an offset of valid JSON text. Only for messages: not fast. */
function pathAt(text: string, offset: number, top: string): string {
  // Null: inside an object, before its first name.
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
 * One step down a JSON path as error messages write it: `rooms["!a:b"].sessions`.
 *
 * @param parent - The path so far; empty at the top.
 * @param step - An index, or a name; one that is no plain word stands in brackets, cut after 255 characters.
 */
export function jsonPath(parent: string, step: string | number): string {
  if (typeof step === 'number') return `${parent}[${step}]`;
  if (/^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(step)) return parent === '' ? step : `${parent}.${step}`;
  return `${parent}[${quote(step, 255)}]`;
}

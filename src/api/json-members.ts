/**
 * The members of objects in a text that is known to be JSON: what a value looked like, where `JSON.parse` says what
 * it means. On text that is no JSON the answers mean nothing, but every call ends.
 */

const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;

/** A value where it stands. */
export interface JsonSpan {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** How many members the objects in it have as written, one that is there twice counted twice. */
  readonly members: number;
  /** Whether it is written as `JSON.stringify` writes: no white space between tokens, numbers in digits only. */
  readonly plain: boolean;
}

/**
 * Goes through the members of the object that begins at `start`, white space before it or not.
 *
 * @param visit - Gets a name and where its value begins, and returns where that ends.
 * @returns Where the object ends; where there is no object, where that value ends.
 */
export function eachMember(
  text: string,
  start: number,
  visit: (name: string, start: number) => number,
): number {
  let i = skipSpace(text, start);
  if (text.charCodeAt(i) !== OPEN_BRACE) return jsonSpan(text, i).end;
  i = skipSpace(text, i + 1);
  while (i < text.length && text.charCodeAt(i) === QUOTE) {
    const end = endOfString(text, i);
    const name = nameOf(text, i, end);
    const colon = skipSpace(text, end + 1);
    // Whatever the visitor says, it goes forward.
    i = skipSpace(text, Math.max(visit(name, skipSpace(text, colon + 1)), colon + 1));
    if (text.charCodeAt(i) === COMMA) i = skipSpace(text, i + 1);
  }
  return i + 1;
}

/** The extent of the value that begins at `start`. */
export function jsonSpan(text: string, start: number): JsonSpan {
  let [members, depth, plain] = [0, 0, true];
  for (let i = start; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === QUOTE) {
      i = endOfString(text, i);
    } else if (unit === COLON) {
      members++;
    } else if (unit === OPEN_BRACE || unit === OPEN_BRACKET) {
      depth++;
    } else if (unit === CLOSE_BRACE || unit === CLOSE_BRACKET) {
      // Of what the value stands in.
      if (depth === 0) return { start, end: i, members, plain };
      depth--;
    } else if (unit <= 0x20) {
      if (depth === 0) return { start, end: i, members, plain };
      plain = false;
      continue;
    } else {
      if (depth === 0 && unit === COMMA) return { start, end: i, members, plain };
      // `-0`, `1.0`, `1e2`; the `e` of `true` stands behind no digit.
      if (unit === MINUS || unit === POINT || ((unit | 0x20) === 0x65 && isDigit(text.charCodeAt(i - 1))))
        plain = false;
      // A number or a literal ends before what is seen next.
      continue;
    }
    if (depth === 0) return { start, end: i + 1, members, plain };
  }
  return { start, end: text.length, members, plain };
}

/** How many members the objects in a parsed value have. */
export function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let count = Array.isArray(value) ? 0 : Object.keys(value).length;
  for (const inner of Object.values(value)) if (typeof inner === 'object') count += countMembers(inner);
  return count;
}

/** Index of the closing quote of the string that opens at `start`; the text's length where there is none. */
export function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

function nameOf(text: string, start: number, end: number): string {
  const name = text.slice(start + 1, end);
  return name.includes('\\') ? (JSON.parse(`"${name}"`) as string) : name;
}

function skipSpace(text: string, start: number): number {
  let i = start;
  while (i < text.length && text.charCodeAt(i) <= 0x20) i++;
  return i;
}

function isDigit(unit: number): boolean {
  return unit >= 0x30 && unit <= 0x39;
}

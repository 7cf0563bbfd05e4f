import { KeyBackupError, describe } from '../errors.js';

/** JSON as it is read from other people: objects, bounded in depth, fields asked for by name and type. */

/** A JSON object with fields nobody has checked yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Deeper nesting than any room key has; recursion over what comes out stays safe. */
const MAX_DEPTH = 512;

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

/** @throws {@link KeyBackupError} `missing-field` when nothing is there, `bad-json` when it is not a string. */
export function expectString(object: JsonObject, name: string, field: string): string {
  const value = ownValue(object, name);
  if (value === undefined)
    throw new KeyBackupError('missing-field', `${field}.${name}: expected a string, got nothing`);
  if (typeof value !== 'string') {
    throw new KeyBackupError('bad-json', `${field}.${name}: expected a string, got ${describe(value)}`);
  }
  return value;
}

/** A field of the object itself, never one of its prototype's. */
export function ownValue(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** A field of a value's own that is a string; `undefined` when it is another, or the value no object. */
export function ownString(value: unknown, name: string): string | undefined {
  const field = isJsonObject(value) ? ownValue(value, name) : undefined;
  return typeof field === 'string' ? field : undefined;
}

/**
 * Parses a text that has to be a JSON object.
 *
 * @throws {@link KeyBackupError} `bad-json`, also for nesting over 512. The parser's own error is not kept as a
 * cause, because it quotes the text.
 */
export function parseObject(text: string, field: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new KeyBackupError('bad-json', `${field}: expected JSON, got something else`);
  }
  expectShallow(value, text, field);
  return expectObject(value, field);
}

/**
 * A copy of what JSON holds of a value, made without its methods: its `toJSON` is not called.
 *
 * @returns Only plain objects, arrays and primitives; `undefined` for what JSON leaves out.
 * @throws {@link KeyBackupError} `bad-json` for a bigint, and for nesting over 512 levels or a cycle.
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

/**
 * Checks how deeply a value nests. What is refused on reading is not written either.
 *
 * @param text - The value's JSON: it is only asked whether it is long enough to nest too deeply at all.
 * @throws {@link KeyBackupError} `bad-json` for more than 512 levels.
 */
export function expectShallow(value: unknown, text: string, field: string): void {
  // Every level takes two characters, so almost every text is short enough to skip the walk.
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

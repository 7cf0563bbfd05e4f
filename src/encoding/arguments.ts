import { KeyBackupError, describe } from '../errors.js';
import { isJsonObject } from './json.js';

/** Arguments of callers that TypeScript does not check, looked at once where they come in. */

/** @throws {@link KeyBackupError} `bad-parameters` unless the value is an object of this class. */
export function expectInstance<Made>(
  value: unknown,
  type: { readonly prototype: Made },
  field: string,
): Made {
  if (Object.prototype.isPrototypeOf.call(type.prototype as object, value as object)) return value as Made;
  throw wrong(field, 'an object of this package', value);
}

/** {@link expectInstance} by a method that no other class has: the class itself would come into bundles without it. */
export function expectMethod<Made>(value: Made, method: keyof Made & string, field: string): Made {
  if (typeof (value as Made | null | undefined)?.[method] === 'function') return value;
  throw wrong(field, 'an object of this package', value);
}

/** @throws {@link KeyBackupError} `bad-parameters` unless the value is an object with named options. */
export function expectOptions(value: unknown, field = 'options'): void {
  if (!isJsonObject(value)) throw wrong(field, 'an object', value);
}

/** @throws {@link KeyBackupError} `bad-parameters` unless the value is a string. */
export function expectText(value: unknown, field: string): string {
  if (typeof value !== 'string') throw wrong(field, 'a string', value);
  return value;
}

/** @throws {@link KeyBackupError} `bad-parameters` unless the value is a function. */
export function expectFunction(value: unknown, field: string): void {
  if (typeof value !== 'function') throw wrong(field, 'a function', value);
}

/** @throws {@link KeyBackupError} `bad-parameters` unless the value is an array. */
export function expectArray(value: unknown, field: string): void {
  if (!Array.isArray(value)) throw wrong(field, 'an array', value);
}

/** @throws {@link KeyBackupError} `bad-parameters` unless the value is an object that can be iterated, in either way. */
export function expectIterable(value: unknown, field: string): void {
  const isObject = typeof value === 'object' && value !== null;
  if (!isObject || !(Symbol.iterator in value || Symbol.asyncIterator in value)) {
    throw wrong(field, 'an array or another iterable', value);
  }
}

function wrong(field: string, expected: string, value: unknown): KeyBackupError {
  return new KeyBackupError('bad-parameters', `${field}: expected ${expected}, got ${describe(value)}`);
}

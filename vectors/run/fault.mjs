import { KeyBackupError } from '../../dist/errors.js';
import { isJsonObject } from '../../dist/encoding/json.js';
import { CASES } from './cases.mjs';

/**
 * Runs a case of a vector file.
 *
 * @returns What is wrong with its outcome, or `undefined` when it is as expected.
 */
export async function faultOf(kind, fields) {
  const operation = typeof fields.operation === 'string' ? ` ${fields.operation}` : '';
  const runCase = CASES.get(`${kind}${operation}`);
  if (!runCase) return `unknown kind of case: ${kind}${operation}`;
  let outcome;
  try {
    outcome = await runCase(fields);
  } catch (error) {
    return faultOfRefusal(error, fields);
  }
  if (fields.result !== 'valid') return `expected ${fields.code}, but it was accepted`;
  const wrong = Object.keys(outcome).find((name) => !sameJson(outcome[name], expected(fields, name)));
  return wrong === undefined ? undefined : `${wrong}: not as expected`;
}

function faultOfRefusal(error, fields) {
  if (!(error instanceof KeyBackupError)) return `expected a coded error, got ${String(error)}`;
  const came = [error.code, error.check].filter(Boolean).join(' ');
  if (fields.result !== 'invalid') return `expected to be accepted, but got ${came}: ${error.message}`;
  const wanted = [fields.code, fields.check].filter(Boolean).join(' ');
  const isRight = error.code === fields.code && (fields.check === undefined || error.check === fields.check);
  return isRight ? undefined : `expected ${wanted}, got ${came}`;
}

function expected(fields, name) {
  const value = fields[name];
  return name === 'expected_flags' && Array.isArray(value) ? [...value].sort() : value;
}

/** Whether two values are the same JSON, whatever the order of their keys. */
function sameJson(a, b) {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((value, i) => sameJson(value, b[i]));
  }
  if (isJsonObject(a) && isJsonObject(b)) {
    const names = Object.keys(a);
    return (
      names.length === Object.keys(b).length &&
      names.every((name) => Object.hasOwn(b, name) && sameJson(a[name], b[name]))
    );
  }
  return a === b;
}

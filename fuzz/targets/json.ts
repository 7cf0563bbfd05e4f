import { parseJson, parseJsonBytes, parseObject } from '../../src/encoding/json.js';
import { canonicalJson } from '../../src/encoding/canonical-json.js';
import { KeyBackupError } from '../../src/errors.js';
import { claim, claimEqual, jsonOf, textOf, words, type Target } from '../target.js';

/** Never another value than `JSON.parse` gives, and never one that would not come back as it was written. */
export const jsonTarget: Target = {
  name: 'json',
  jsonAt: 0,
  words: [
    ...words`
    \ud83d\ude00 \ud800 \udc00 \\ \" 1e400 1.0 1.5 0e9 1e-1 10e-1 9007199254740993
    9007199254740991 -0 00 [[[[[[[[[[ ]]]]]]]]]] {"a": "__proto__": 100000000000000000000e-20 0.00
  `,
    '\ufeff',
  ],
  seeds: () => [
    '{"a":[1,-2,3e2,"x\\ud83d\\ude00\\\\",null,true,{}],"__proto__":{"b":1.0}}',
    '[9007199254740991,9007199254740992,1e400,0.1,-0]',
    `${'['.repeat(101)}${']'.repeat(101)}`,
    '{"a":"\\\\\\"","b":"\\ud800"}',
    '1.00000000000000000001',
  ],
  run(input, seen) {
    const text = textOf(input);
    const expected = jsonOf(text);
    const read = seen.allow(['not-json', 'bad-json'], () => parseJson(text));
    if (read) {
      claim(expected !== undefined, 'accepts JSON only');
      claimEqual(read.value, expected.value, 'the value of JSON.parse');
      claim(canonical(read.value), 'what is accepted has a canonical form');
    } else if (expected && plainNumbers(text) && canonical(expected.value)) {
      claim(depthOf(expected.value) > 100, 'refuses only what would change, or is too deep');
    }
    const bytes = seen.allow(['not-json', 'bad-json'], () => parseJsonBytes(input));
    if (bytes) claimEqual(bytes.value, read?.value, 'bytes and text agree');
    const object = seen.allow(['bad-json'], () => parseObject(text, 'x'));
    if (object) claimEqual(object.value, expected?.value, 'the object of JSON.parse');
  },
};

/** Whether no number has a fraction or an exponent, which are refused by their digits and not by their value. */
function plainNumbers(text: string): boolean {
  return !/[.eE]/.test(text.replaceAll(/"(?:[^"\\]|\\.)*"|true|false/g, ''));
}

function canonical(value: unknown): boolean {
  try {
    canonicalJson(value);
    return true;
  } catch (error) {
    if (error instanceof KeyBackupError) return false;
    throw error;
  }
}

/** How many arrays and objects stand in one another. */
function depthOf(value: unknown): number {
  const isContainer = (one: unknown): one is object => typeof one === 'object' && one !== null;
  let depth = 0;
  for (let level = [value].filter(isContainer); level.length > 0; depth++) {
    level = level.flatMap((one): unknown[] => Object.values(one)).filter(isContainer);
  }
  return depth;
}

import { canonicalJson } from '../../src/encoding/canonical-json.js';
import { claim, claimEqual, jsonOf, textOf, words, type Target } from '../target.js';
import { textsOf } from '../vectors.js';

/** Idempotent, the same value, and every object's names in the order of their UTF-8 bytes. */
export const canonicalJsonTarget: Target = {
  name: 'canonical-json',
  reads: 'JSON on its way to its canonical form',
  jsonAt: 0,
  words: words`
    {"": "__proto__": "\ud83d\ude00":1, "\uffff":1, \ud800 -0 1e3 0.5 9007199254740992 [[[[[[[[
    ]]]]]]]] \u0007 \/ "toJSON":1 null true 1E400 -9007199254740991
  `,
  seeds: () => [
    ...textsOf('canonical-json', 'input_json', 1500),
    '{"\\ue000":1,"\\ud83d\\ude00":2,"a":[{"b":{}},-0,1e2]}',
    '{"b":{"__proto__":[1,{"a":"\\u001f\\u2028"}]}}',
  ],
  run(input, seen) {
    const parsed = jsonOf(textOf(input));
    if (!parsed) {
      seen.count('not JSON');
      return;
    }
    const written = seen.allow(['bad-canonical-json'], () => canonicalJson(parsed.value));
    if (!written) return;
    const again = JSON.parse(written.value) as unknown;
    claimEqual(canonicalJson(again), written.value, 'idempotent');
    claimEqual(again, withoutMinusZero(parsed.value), 'the same value');
    // A minus can only begin a number, and of a fraction or an exponent nothing is left.
    claim(
      !/[\s.eE+]/.test(withoutStrings(written.value).replaceAll(/true|false/g, '')),
      'integers, no white space',
    );
    claimOrder(written.value);
  },
};

function withoutStrings(json: string): string {
  return json.replaceAll(/"(?:[^"\\]|\\.)*"/g, '');
}

function withoutMinusZero(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

/** The names of every object, as they stand in the text, in the order of their bytes. */
function claimOrder(json: string): void {
  const open: string[][] = [];
  let last = '';
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}:]/g)) {
    if (token === '{') open.push([]);
    else if (token === '}') {
      const names = open.pop() ?? [];
      for (let i = 1; i < names.length; i++) {
        const [before, after] = [names[i - 1], names[i]].map((name) => Buffer.from(name, 'utf8'));
        claim(Buffer.compare(before, after) < 0, 'names in the order of their UTF-8 bytes, each once');
      }
    } else if (token === ':') open[open.length - 1].push(JSON.parse(last) as string);
    else last = token;
  }
}

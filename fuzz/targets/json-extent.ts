import { JsonExtent } from '../../src/wire/json-extent.js';
import { claim, claimEqual, inChunks, jsonOf, textOf, type Target } from '../target.js';

const LIMITS = { bytes: 600, depth: 12 };

/** Where a value ends, and what is kept of it: however it is cut, and as JSON.parse says where it is JSON. */
export const jsonExtentTarget: Target = {
  name: 'json-extent',
  reads: 'the end of one JSON value in a stream',
  jsonAt: 1,
  words: ['\\"', '\\\\', '\\\\"', '{"', '"}', '[{', '}]', ',', ' ', 'x'.repeat(24), 'x'.repeat(23), '"'],
  maxLength: 1200,
  seeds: () => [
    '\x00{"a":"x\\"}","b":[1,2,{"c":null}]},"next"',
    '\x03"short\\\\" ',
    '\x02"a string of more than twenty-four bytes \\\\\\" with escapes \\\\"}',
    '\x07123,',
    '\x05[[[[[[[[[[[[[[1]]]]]]]]]]]]]]',
    '\x04{]',
  ],
  run(input, seen) {
    if (input.length < 2) return;
    const [seed, first] = input;
    const bytes = input.subarray(1);
    const whole = extentOf(bytes, 0, seen);
    claimEqual(extentOf(bytes, seed, seen), whole, 'the same however it is cut');
    if (typeof whole === 'string') return;
    const end = whole.end < 0 ? bytes.length : whole.end;
    // Any value that is JSON up to somewhere ends just there.
    const text = textOf(bytes.subarray(0, end));
    if (whole.end >= 0 && jsonOf(text)) {
      seen.count('JSON');
      if (text.trim() === text && whole.kept)
        claimEqual(Buffer.from(whole.kept), Buffer.from(bytes.subarray(0, end)), 'kept as it stood');
      claim(
        (whole.kept === undefined) === (end > LIMITS.bytes || isDeep(text)),
        'kept unless it is too large',
      );
    }
    // And where it has no end, there is no whole object, array or string at the beginning.
    if (whole.end < 0 && '{["'.includes(String.fromCharCode(first))) {
      claim(jsonOf(textOf(bytes)) === undefined, 'a value that is whole has an end');
    }
  },
};

interface Found {
  readonly end: number;
  readonly kept: number[] | undefined;
}

function extentOf(bytes: Uint8Array, seed: number, seen: Parameters<Target['run']>[1]): Found | string {
  const extent = new JsonExtent(LIMITS);
  extent.begin(bytes[0], '$');
  let offset = 0;
  for (const chunk of inChunks(bytes, seed)) {
    const fed = seen.allow(['bad-json'], () => extent.feed(chunk, 0));
    if (!fed) return 'bad-json';
    if (fed.value >= 0) {
      const { bytes: kept } = extent.take();
      return { end: offset + fed.value, kept: kept && [...kept] };
    }
    offset += chunk.length;
  }
  return { end: -1, kept: undefined };
}

function isDeep(json: string): boolean {
  let depth = 0;
  for (const bracket of json.replaceAll(/"(?:[^"\\]|\\.)*"/gs, '').matchAll(/[[\]{}]/g)) {
    depth += '[{'.includes(bracket[0]) ? 1 : -1;
    if (depth > LIMITS.depth) return true;
  }
  return false;
}

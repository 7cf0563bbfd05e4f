import { expect, it } from 'vitest';
import { count } from '../../page/src/count.js';

it('rounds a number, and separates its thousands as English does', () => {
  for (const number of [0, 7, 999, 1000, 12_345.6, 100_000, 1_234_567]) {
    expect(count(number)).toBe(Math.round(number).toLocaleString('en'));
  }
});

import { expect, it } from 'vitest';
import { LOOKALIKE, WRONG_KEY } from '../../src/cli/errors.js';

it('names the code, and what people may have mistaken for the key', () => {
  expect(WRONG_KEY).toContain('wrong-key');
  expect(WRONG_KEY).toContain(LOOKALIKE);
  expect(LOOKALIKE).toContain('secret storage');
});

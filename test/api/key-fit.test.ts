import { expect, it } from 'vitest';
import { KeyFit } from '../../src/api/key-fit.js';

const READ = { ok: true };
const OTHERS = { ok: false, wellFormed: true, error: { code: 'mac-mismatch' } };
const DAMAGED = { ok: false, wellFormed: true, error: { code: 'bad-padding' } };
const LOW_ORDER = { ok: false, wellFormed: true, error: { code: 'low-order-key' } };
const MALFORMED = { ok: false, wellFormed: false, error: { code: 'bad-base64' } };

it.each([
  ['nothing', [], true],
  ['what was read', [READ], true],
  ['records of another key alone', [OTHERS, OTHERS], false],
  ['one that was read among them', [OTHERS, READ], true],
  ['one whose MAC was right among them', [OTHERS, DAMAGED], true],
  ['what tells nothing of the key among them', [OTHERS, MALFORMED, LOW_ORDER], false],
  ['what tells nothing of the key alone', [MALFORMED, LOW_ORDER], true],
])('tells by %s whether a key fits', (_, results, fits) => {
  const fit = new KeyFit();
  for (const result of results) fit.take(result);
  expect(fit.fits).toBe(fits);
});

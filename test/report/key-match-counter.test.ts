import { expect, it } from 'vitest';
import { KeyMatchCounter } from '../../src/report/key-match-counter.js';

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
  const fit = new KeyMatchCounter();
  for (const result of results) fit.take(result);
  expect(fit.fits).toBe(fits);
});

it('hears nothing of the key from a record that cannot be taken apart, or failed for no reason', () => {
  const fit = new KeyMatchCounter();
  fit.take({ ok: false, wellFormed: true, error: { code: 'mac-mismatch' } });
  fit.take({ ok: false, error: { code: 'bad-json' } });
  fit.take({ ok: false });
  expect(fit.fits).toBe(false);
  fit.take({ ok: false, wellFormed: true });
  expect(fit.fits).toBe(true);
});

it('tells people the code, and what they may have mistaken for the key', () => {
  expect(KeyMatchCounter.WRONG_KEY).toContain('wrong-key');
  expect(KeyMatchCounter.WRONG_KEY).toContain(KeyMatchCounter.LOOKALIKE);
  expect(KeyMatchCounter.LOOKALIKE).toContain('secret storage');
});

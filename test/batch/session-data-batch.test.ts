import { fc } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import {
  BackupDecryptionKey,
  MAX_PLAINTEXT_BYTES,
  decryptManySync,
  decryptSessionData,
  encryptManySync,
  encryptSessionData,
} from '../../src/engine.js';
import { KeyBackupError } from '../../src/errors.js';
import { tryRecord, decryptManyBy, encryptManyBy } from '../../src/batch/session-data-batch.js';
import { parseSessionData } from '../../src/scheme/session-data.js';
import { LOW_ORDER_POINTS, anyJson, base64, forge, refusal, rejection } from '../support/samples.js';

const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x42));

describe('many at byte level', () => {
  it('round-trip, in order, with the single calls on either side', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 40 }), (plaintexts) => {
        const together = encryptManySync(plaintexts, key.publicKey);
        const singly = plaintexts.map((plaintext) => encryptSessionData(plaintext, key.publicKey));
        for (const sessionData of [together, singly]) {
          const read = decryptManySync(sessionData, key);
          expect(read.map((one) => one.ok && one.plaintext.join())).toEqual(
            plaintexts.map((one) => one.join()),
          );
          expect(sessionData.map((one) => decryptSessionData(one, key).plaintext.join())).toEqual(
            plaintexts.map((one) => one.join()),
          );
        }
        expect(new Set(together.map(({ ephemeral }) => ephemeral)).size).toBe(plaintexts.length);
      }),
      { numRuns: 40 },
    );
  });

  it('go beyond one chunk', () => {
    const plaintexts = Array.from({ length: 1030 }, (_, i) => Uint8Array.of(i, i >> 8));
    const read = decryptManySync(encryptManySync(plaintexts, key.publicKey), key);
    expect(read.map((one) => one.ok && one.plaintext.join())).toEqual(plaintexts.map((one) => one.join()));
  });

  it('encrypt nothing where one plaintext cannot be', () => {
    const bad: [unknown, string][] = [
      [new Uint8Array(MAX_PLAINTEXT_BYTES + 1), 'too-large'],
      ['text', 'bad-parameters'],
      [null, 'bad-parameters'],
    ];
    for (const [plaintext, code] of bad) {
      const all = [new Uint8Array(1), plaintext as Uint8Array];
      expect(refusal(() => encryptManySync(all, key.publicKey)).code).toBe(code);
    }
  });

  it('decrypt the good ones among any others', () => {
    const forged = forge(key.publicKey.toBytes());
    const good = forged.withPlaintext(Uint8Array.of(7));
    const bad: [unknown, string][] = [
      [null, 'bad-json'],
      [{}, 'missing-field'],
      [{ ...good, mac: '*' }, 'bad-base64'],
      [{ ...good, mac: 'A'.repeat(11) }, 'mac-mismatch'],
      [{ ...good, ephemeral: base64(LOW_ORDER_POINTS[5]) }, 'low-order-key'],
      [forged.withBlocks(new Uint8Array(16)), 'bad-padding'],
    ];
    const read = decryptManySync(
      bad.flatMap(([one]) => [one, good]),
      key,
    );
    bad.forEach(([, code], i) => {
      expect(read[2 * i]).toMatchObject({ ok: false, error: { code } });
      expect(read[2 * i + 1]).toEqual({ ok: true, plaintext: Uint8Array.of(7), flags: [] });
    });
    const [salvaged] = decryptManySync([forged.withBlocks(new Uint8Array(16))], key, { salvage: true });
    expect(salvaged).toMatchObject({ ok: true, flags: ['padding'] });
  });

  it('are total', () => {
    fc.assert(
      fc.property(fc.array(anyJson), (values) => {
        for (const one of decryptManySync(values, key)) expect(one.ok).toBe(false);
      }),
    );
  });

  it('need a key that is not disposed of', () => {
    const gone = BackupDecryptionKey.generate();
    gone.dispose();
    expect(refusal(() => decryptManySync([], gone)).code).toBe('bad-parameters');
  });
});

describe('a backend for many', () => {
  const odd = (given: unknown) => ({
    name: 'odd',
    encryptMany: () => Promise.resolve(given as never),
    decryptMany: () => Promise.resolve(given as never),
  });
  const opened = { plaintext: new Uint8Array(1), flags: [] };
  const parsed = parseSessionData(encryptSessionData(new Uint8Array(1), key.publicKey));

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['too few', []],
    ['too many', [opened, opened]],
    ['no plaintext', [{ flags: [] }]],
    ['no flags', [{ plaintext: new Uint8Array(1) }]],
    ['null', [null]],
  ])('that gives %s has failed, and is named', async (_, given) => {
    const recipient = key.publicKey.toBytes();
    const encrypting = rejection(encryptManyBy(odd(given), recipient, [new Uint8Array(1)], {}));
    expect((await encrypting).message).toMatch(/^backend odd: encryptMany: expected 1 results, got /);
    const decrypting = rejection(decryptManyBy(odd(given), key.toBytes(), [parsed], {}));
    expect((await decrypting).message).toMatch(/^backend odd: decryptMany: expected 1 results, got /);
  });
});

it('only errors of ours are results', () => {
  const own = new KeyBackupError('bad-json', 'x: expected y');
  const failing = (error: unknown) => () => {
    throw error;
  };
  expect(tryRecord(failing(own))).toBe(own);
  expect(() => tryRecord(failing(new TypeError('a fault')))).toThrow(TypeError);
});

import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { x25519 } from '@noble/curves/ed25519.js';
import { describe, expect, it, vi } from 'vitest';
import { BackupDecryptionKey, BackupPublicKey, KeyBackupError } from '../../src/index.js';
import { decryptSessionData, derivePassphraseKey, encryptSessionData } from '../../src/engine.js';
import {
  LOW_ORDER_POINTS,
  anyJson,
  anyText,
  base64,
  bytes32,
  nonCanonical,
  refusal,
  rejection,
  total,
  withHighBit,
} from '../support/samples.js';

const VALID = x25519.getPublicKey(new Uint8Array(32).fill(1));

describe('BackupPublicKey', () => {
  it('round-trips through bytes, base64 and auth_data', () => {
    fc.assert(
      fc.property(bytes32, (seed) => {
        const u = x25519.getPublicKey(seed);
        const key = BackupPublicKey.fromBytes(u);
        expect(key.toBytes().join()).toBe(u.join());
        expect(key.toBase64()).toBe(base64(u));
        for (const text of [base64(u), Buffer.from(u).toString('base64')]) {
          expect(BackupPublicKey.fromBase64(text).equals(key)).toBe(true);
          expect(BackupPublicKey.fromAuthData({ public_key: text, other: 1 }).equals(key)).toBe(true);
        }
      }),
    );
  });

  it('takes bit 255 and a non-canonical u as they are', () => {
    for (const u of [withHighBit(VALID), nonCanonical(9n), withHighBit(nonCanonical(18n))]) {
      expect(BackupPublicKey.fromBytes(u).toBytes().join()).toBe(u.join());
    }
  });

  it('copies in and copies out, and gives no Buffer', () => {
    const given = Buffer.from(VALID);
    const key = BackupPublicKey.fromBytes(given);
    given.fill(0);
    const taken = key.toBytes();
    expect(Buffer.isBuffer(taken)).toBe(false);
    taken.fill(0);
    expect(key.toBytes().join()).toBe(VALID.join());
  });

  it('tells any two keys apart', () => {
    const key = BackupPublicKey.fromBytes(VALID);
    for (let bit = 0; bit < 256; bit++) {
      const other = Uint8Array.from(VALID);
      other[bit >> 3] ^= 1 << (bit & 7);
      expect(key.equals(BackupPublicKey.fromBytes(other))).toBe(false);
    }
  });

  it('refuses every point of small order, in every way it can come', () => {
    for (const point of LOW_ORDER_POINTS) {
      const text = base64(point);
      for (const read of [
        () => BackupPublicKey.fromBytes(point),
        () => BackupPublicKey.fromBase64(text),
        () => BackupPublicKey.fromAuthData({ public_key: text }),
      ]) {
        expect(refusal(read).code).toBe('low-order-key');
      }
    }
  });

  it.each([
    [new Uint8Array(31), 'bad-length'],
    [new Uint8Array(33), 'bad-length'],
    ['text', 'bad-length'],
    [undefined, 'bad-length'],
  ])('fromBytes of %s: %s', (value, code) => {
    expect(refusal(() => BackupPublicKey.fromBytes(value as Uint8Array)).code).toBe(code);
  });

  it.each([
    ['', 'bad-length'],
    ['A'.repeat(42), 'bad-length'],
    ['A'.repeat(60), 'bad-length'],
    ['A'.repeat(100_000_000), 'bad-length'],
    ['A'.repeat(41), 'bad-base64'],
    ['_'.repeat(43), 'bad-base64'],
    [` ${base64(VALID)}`, 'bad-base64'],
    [undefined, 'bad-json'],
    [12, 'bad-json'],
  ])('fromBase64 of %.20s: %s', (text, code) => {
    expect(refusal(() => BackupPublicKey.fromBase64(text as string)).code).toBe(code);
  });

  it.each([
    undefined,
    null,
    [],
    'text',
    {},
    { public_key: null },
    { public_key: 1 },
    { public_key: [] },
    { public_key: '' },
    { public_key: base64(VALID).slice(1) },
    { public_key: 'A'.repeat(60) },
    { public_key: '-'.repeat(43) },
    { public_key: 'A'.repeat(1000) },
  ])('fromAuthData of %j: bad-auth-data', (authData) => {
    expect(refusal(() => BackupPublicKey.fromAuthData(authData)).code).toBe('bad-auth-data');
  });

  it('says what came instead of a key', () => {
    const error = refusal(() => BackupPublicKey.fromAuthData({ public_key: base64(randomBytes(45)) }));
    expect(error.message).toMatch(/auth_data\.public_key: .*32 bytes.*45 bytes.*60 characters/);
    expect((error.cause as KeyBackupError).code).toBe('bad-length');
    const inherited: unknown = Object.create({ public_key: base64(VALID) });
    expect(refusal(() => BackupPublicKey.fromAuthData(inherited)).code).toBe('bad-auth-data');
  });

  it('is total over text and JSON', () => {
    fc.assert(
      fc.property(anyText, anyJson, (text, json) => {
        total(() => BackupPublicKey.fromBase64(text));
        total(() => BackupPublicKey.fromBase64(json as string));
        total(() => BackupPublicKey.fromAuthData(json));
        total(() => BackupPublicKey.fromAuthData({ public_key: text }));
        total(() => BackupPublicKey.fromBytes(json as Uint8Array));
      }),
    );
  });
});

describe('BackupDecryptionKey', () => {
  it('round-trips through every form', () => {
    fc.assert(
      fc.property(bytes32, (bytes) => {
        const key = BackupDecryptionKey.fromBytes(bytes);
        expect(key.toBytes().join()).toBe(bytes.join());
        expect(key.toBase64()).toBe(base64(bytes));
        expect(key.publicKey.toBase64()).toBe(base64(x25519.getPublicKey(bytes)));
        for (const again of [
          BackupDecryptionKey.fromBase64(key.toBase64()),
          BackupDecryptionKey.fromBase64(Buffer.from(bytes).toString('base64')),
          BackupDecryptionKey.fromRecoveryKey(key.toRecoveryKey()),
          BackupDecryptionKey.fromSecret(key.toBase64()).key,
          BackupDecryptionKey.fromSecret(bytes.join()).key,
          BackupDecryptionKey.fromSecret([...bytes].join(' ,\n ')).key,
        ]) {
          expect(again.toBytes().join()).toBe(bytes.join());
          expect(again.publicKey.equals(key.publicKey)).toBe(true);
        }
      }),
    );
  });

  it('is generated anew each time, and works', () => {
    const keys = Array.from({ length: 20 }, () => BackupDecryptionKey.generate());
    expect(new Set(keys.map((key) => key.toBase64())).size).toBe(20);
    const [key] = keys;
    const sessionData = encryptSessionData(Uint8Array.of(1), key.publicKey);
    expect([...decryptSessionData(sessionData, key).plaintext]).toEqual([1]);
  });

  it('copies in and copies out, and gives no Buffer', () => {
    const given = Buffer.alloc(32, 7);
    const key = BackupDecryptionKey.fromBytes(given);
    given.fill(0);
    const taken = key.toBytes();
    expect(Buffer.isBuffer(taken)).toBe(false);
    taken.fill(0);
    expect([...key.toBytes()]).toEqual(Array(32).fill(7));
  });

  it.each([
    ['', 'bad-length'],
    ['A'.repeat(42), 'bad-length'],
    ['A'.repeat(257), 'bad-length'],
    ['*'.repeat(43), 'bad-base64'],
    [null, 'bad-json'],
  ])('fromBase64 of %j: %s', (text, code) => {
    expect(refusal(() => BackupDecryptionKey.fromBase64(text!)).code).toBe(code);
  });

  it.each([31, 33])('fromBytes of %d: bad-length', (length) => {
    expect(refusal(() => BackupDecryptionKey.fromBytes(new Uint8Array(length))).code).toBe('bad-length');
  });

  it('fromRecoveryKey says which check failed', () => {
    const error = refusal(() => BackupDecryptionKey.fromRecoveryKey('EsT0'));
    expect(error).toMatchObject({ code: 'bad-recovery-key', check: 'alphabet' });
  });

  describe('the secret', () => {
    it('flags the comma-separated form only', () => {
      expect(BackupDecryptionKey.fromSecret('A'.repeat(43)).flags).toEqual([]);
      expect(BackupDecryptionKey.fromSecret(Array(32).fill(0).join()).flags).toEqual([
        'comma-separated-bytes',
      ]);
    });

    it.each([
      [Array(31).fill(1).join(), 'bad-length'],
      [Array(33).fill(1).join(), 'bad-length'],
      [Array(31).fill(1).join() + ',256', 'bad-length'],
      [Array(31).fill(1).join() + ',-1', 'bad-length'],
      [Array(31).fill(1).join() + ',', 'bad-length'],
      [Array(31).fill(1).join() + ',1e1', 'bad-length'],
      [Array(31).fill(1).join() + ',0x1', 'bad-length'],
      [Array(31).fill(1).join() + ',1.0', 'bad-length'],
      [Array(31).fill(1).join() + ',٣', 'bad-length'],
      [',', 'bad-length'],
      [','.repeat(31), 'bad-length'],
      ['1,'.repeat(50_000_000), 'bad-length'],
      ['', 'bad-length'],
      ['A;B', 'bad-base64'],
      [undefined, 'bad-json'],
      [[1, 2], 'bad-json'],
    ])('%.40j: %s', (text, code) => {
      expect(refusal(() => BackupDecryptionKey.fromSecret(text as string)).code).toBe(code);
    });
  });

  it('is total over text and JSON', () => {
    fc.assert(
      fc.property(anyText, anyJson, (text, json) => {
        for (const value of [text, json] as string[]) {
          total(() => BackupDecryptionKey.fromBase64(value));
          total(() => BackupDecryptionKey.fromRecoveryKey(value));
          total(() => BackupDecryptionKey.fromSecret(value));
          total(() => BackupDecryptionKey.fromBytes(value as unknown as Uint8Array));
        }
      }),
    );
  });

  describe('matching an auth_data', () => {
    const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(1));

    it('holds for its own public key, also with bit 255 set', () => {
      expect(key.matches({ public_key: base64(VALID) })).toBe(true);
      expect(key.matches({ public_key: base64(withHighBit(VALID)) })).toBe(true);
      key.expectMatch({ public_key: base64(VALID) });
    });

    it('fails for any other', () => {
      const other = { public_key: BackupDecryptionKey.generate().publicKey.toBase64() };
      expect(key.matches(other)).toBe(false);
      expect(
        refusal(() => {
          key.expectMatch(other);
        }).code,
      ).toBe('wrong-key');
    });

    it('is no question where there is no usable key', () => {
      expect(refusal(() => key.matches({})).code).toBe('bad-auth-data');
      expect(refusal(() => key.matches({ public_key: 'A'.repeat(43) })).code).toBe('low-order-key');
      expect(
        refusal(() => {
          key.expectMatch(null);
        }).code,
      ).toBe('bad-auth-data');
    });
  });

  describe('from a passphrase', () => {
    const parameters = { private_key_salt: 'salt', private_key_iterations: 3 };

    it('is compared with the public key where there is one', async () => {
      const key = BackupDecryptionKey.fromBytes(await derivePassphraseKey('pass', parameters));
      const public_key = key.publicKey.toBase64();
      const again = await BackupDecryptionKey.fromPassphrase('pass', { ...parameters, public_key });
      expect(again.toBase64()).toBe(key.toBase64());
      const spelled = base64(withHighBit(key.publicKey.toBytes()));
      const third = await BackupDecryptionKey.fromPassphrase('pass', { ...parameters, public_key: spelled });
      expect(third.toBase64()).toBe(key.toBase64());
      const wrong = BackupDecryptionKey.fromPassphrase('SECRET', { ...parameters, public_key });
      const error = await rejection(wrong);
      expect(error.code).toBe('wrong-passphrase');
      expect(error.message).not.toContain('SECRET');
      expect(error.message).not.toContain('NF');
    });

    it('is refused before it is derived where no public key proves it', async () => {
      const onProgress = vi.fn();
      for (const allowUnproven of [undefined, false, 1 as unknown as boolean]) {
        const unproven = BackupDecryptionKey.fromPassphrase('SECRET', parameters, {
          allowUnproven,
          onProgress,
        });
        expect((await rejection(unproven)).code).toBe('unproven-key');
      }
      expect(onProgress).not.toHaveBeenCalled();
    });

    it('needs 100,000 rounds where the caller allows that nothing proves it', async () => {
      const backend = { name: 'test', pbkdf2: () => Promise.resolve(new Uint8Array(32).fill(1)) };
      const derive = (private_key_iterations: number) =>
        BackupDecryptionKey.fromPassphrase(
          'SECRET',
          { ...parameters, private_key_iterations },
          { allowUnproven: true, backend },
        );
      expect((await rejection(derive(99_999))).code).toBe('bad-parameters');
      expect((await derive(100_000)).toBytes()).toEqual(new Uint8Array(32).fill(1));
    });

    it('is compared all the same where the caller allows that nothing proves it', async () => {
      const authData = { ...parameters, public_key: base64(VALID) };
      const wrong = BackupDecryptionKey.fromPassphrase('SECRET', authData, { allowUnproven: true });
      expect((await rejection(wrong)).code).toBe('wrong-passphrase');
      const malformed = { ...parameters, public_key: null };
      const unusable = BackupDecryptionKey.fromPassphrase('SECRET', malformed, { allowUnproven: true });
      expect((await rejection(unusable)).code).toBe('bad-auth-data');
    });

    it('offers the other forms of a passphrase that has them', async () => {
      const public_key = base64(VALID);
      const say = async (passphrase: string) =>
        (await rejection(BackupDecryptionKey.fromPassphrase(passphrase, { ...parameters, public_key })))
          .message;
      expect(await say('e\u0301')).toContain('NFC and NFKC');
      expect(await say('ﬁ')).toMatch(/its NFKC form/);
    });

    describe('in another form than it was set in', () => {
      const authDataOf = async (made: string) => {
        const key = BackupDecryptionKey.fromBytes(await derivePassphraseKey(made, parameters));
        return { ...parameters, public_key: key.publicKey.toBase64() };
      };

      it.each([
        ['Schlüssel'.normalize('NFD'), 'Schlüssel', 'NFD'],
        ['fish', ' fish ', 'outer-space'],
        ['fish\n', 'fish', 'line-end'],
        ['fish', 'FISH', 'caps-lock'],
        ['it’s', "it's", 'typographic-signs'],
      ])('takes %j for %j when asked to, and tells the form', async (made, typed, form) => {
        const authData = await authDataOf(made);
        const told = vi.fn<(form: string) => void>();
        const key = await BackupDecryptionKey.fromPassphrase(typed, authData, { onOtherForm: told });
        expect(key.matches(authData)).toBe(true);
        expect(told.mock.calls).toEqual([[form]]);
        const unasked = BackupDecryptionKey.fromPassphrase(typed, authData);
        expect((await rejection(unasked)).code).toBe('wrong-passphrase');
      });

      it('is not tried where the passphrase fits, and not told where none does', async () => {
        const authData = await authDataOf('fish');
        const told = vi.fn<(form: string) => void>();
        const options = { onOtherForm: told };
        expect((await BackupDecryptionKey.fromPassphrase('fish', authData, options)).matches(authData)).toBe(
          true,
        );
        const error = await rejection(BackupDecryptionKey.fromPassphrase('bird', authData, options));
        expect(error.code).toBe('wrong-passphrase');
        expect(told).not.toHaveBeenCalled();
      });

      it('ends when aborted, and with what the callback throws', async () => {
        const authData = await authDataOf('fish');
        const abort = new AbortController();
        let derived = 0;
        const backend = {
          name: 'test',
          pbkdf2: () => {
            if (++derived === 3) abort.abort();
            return Promise.resolve(new Uint8Array(32).fill(derived));
          },
        };
        const options = { backend, signal: abort.signal, onOtherForm: () => undefined };
        const aborted = BackupDecryptionKey.fromPassphrase('bird', authData, options);
        expect((await rejection(aborted)).code).toBe('aborted');
        expect(derived).toBe(3);
        const mine = new KeyBackupError('wrong-passphrase', 'mine');
        const throwing = () => {
          throw mine;
        };
        await expect(
          BackupDecryptionKey.fromPassphrase('Fish', authData, { onOtherForm: throwing }),
        ).rejects.toBe(mine);
      });
    });

    it('reads the auth_data before the long work', async () => {
      const bad = { ...parameters, private_key_iterations: 10_000_000, public_key: 'short' };
      expect((await rejection(BackupDecryptionKey.fromPassphrase('p', bad))).code).toBe('bad-auth-data');
      for (const authData of [null, [], {}]) {
        const error = await rejection(BackupDecryptionKey.fromPassphrase('p', authData));
        expect(['bad-parameters', 'missing-field']).toContain(error.code);
      }
    });
  });

  describe('dispose', () => {
    it('wipes, and later use has a code', () => {
      const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(1));
      const sessionData = encryptSessionData(Uint8Array.of(1), key.publicKey);
      key.dispose();
      for (const use of [
        () => key.toBytes(),
        () => key.toBase64(),
        () => key.toRecoveryKey(),
        () => decryptSessionData(sessionData, key),
      ]) {
        expect(refusal(use)).toMatchObject({ code: 'bad-parameters' });
      }
      key.dispose();
    });

    it('overwrites the very bytes', () => {
      // The one array the key keeps is a copy it makes: the constructor shows it.
      const kept: Uint8Array[] = [];
      const spy = new Proxy(Uint8Array, {
        construct(target, args: [Uint8Array]) {
          const array = new target(...args);
          if (array[0] === 0x5e) kept.push(array);
          return array;
        },
      });
      const given = new Uint8Array(32).fill(0x5e);
      vi.stubGlobal('Uint8Array', spy);
      try {
        BackupDecryptionKey.fromBytes(given).dispose();
      } finally {
        vi.unstubAllGlobals();
      }
      expect(kept.length).toBeGreaterThan(0);
      for (const array of kept) expect([...array]).not.toEqual(Array(32).fill(0x5e));
    });

    it('leaves the public key readable', () => {
      const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(1));
      key.dispose();
      expect(key.publicKey.toBase64()).toBe(base64(VALID));
      expect(key.matches({ public_key: base64(VALID) })).toBe(true);
    });
  });

  it('shows nothing of itself to those who print it', () => {
    const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0xab));
    const shown = `${inspect(key, { showHidden: true, depth: 9 })}${JSON.stringify(key)}`;
    expect(shown).not.toMatch(/171|abab|q6ur/i);
  });
});

describe('the bounds', () => {
  const zeros = (count: number) => Array<number>(count).fill(0);

  it('of a secret of byte values: 32 of them in 256 characters', () => {
    const spaced = (characters: number) => `${zeros(32).join()}${' '.repeat(characters - 63)}`;
    expect(BackupDecryptionKey.fromSecret(spaced(256)).flags).toHaveLength(1);
    for (const text of [spaced(257), zeros(31).join(), zeros(33).join()]) {
      expect(refusal(() => BackupDecryptionKey.fromSecret(text)).message).toBe(
        'secret: expected 32 comma-separated byte values, got something else',
      );
    }
  });

  it('of a key in base64: what is longer than 256 characters is not decoded', () => {
    const message = (length: number) =>
      refusal(() => BackupDecryptionKey.fromBase64('A'.repeat(length))).message;
    expect(message(256)).toBe('decryption key: expected 32 bytes, got 192 bytes');
    expect(message(257)).toBe('decryption key: expected base64 of 32 bytes, got 257 characters');
  });

  it('of advice: a passphrase that has no other form gets none', async () => {
    const { publicKey } = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(1));
    const authData = {
      public_key: publicKey.toBase64(),
      private_key_salt: 'salt',
      private_key_iterations: 1,
    };
    const error = await rejection(BackupDecryptionKey.fromPassphrase('plain', authData));
    expect(error.message).toBe('passphrase: expected the one that derives auth_data.public_key, got another');
  });
});

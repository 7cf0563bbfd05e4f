import { pbkdf2Sync } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Progress } from '../../src/index.js';
import { derivePassphraseKey, type Backend } from '../../src/engine.js';
import { checkIterations, pbkdf2 } from '../../src/scheme/passphrase.js';
import { anyCharacter, anyJson, refusal, rejection } from '../support/samples.js';

const parameters = (iterations: unknown = 10, fields: object = {}) => ({
  private_key_salt: 'salt',
  private_key_iterations: iterations,
  ...fields,
});

afterEach(() => {
  vi.unstubAllGlobals();
});

/** A clock that every look at it moves on, so that turns come after a number of looks and not after a time. */
function stubClock(step: number): void {
  let time = 0;
  vi.stubGlobal('performance', { now: () => (time += step) });
}

describe('derivation', () => {
  it('is PBKDF2-HMAC-SHA-512 of the passphrase and the text of the salt, as they are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: anyCharacter }),
        fc.string({ unit: anyCharacter }),
        fc.integer({ min: 1, max: 40 }),
        async (passphrase, salt, iterations) => {
          const key = await derivePassphraseKey(passphrase, {
            private_key_salt: salt,
            private_key_iterations: iterations,
          });
          expect(key.join()).toBe(pbkdf2Sync(passphrase, salt, iterations, 32, 'sha512').join());
          expect(Buffer.isBuffer(key)).toBe(false);
        },
      ),
    );
  });

  it('does not normalise', async () => {
    const [nfc, nfd] = ['é'.normalize('NFC'), 'é'.normalize('NFD')];
    const one = await derivePassphraseKey(nfc, parameters());
    const two = await derivePassphraseKey(nfd, parameters());
    expect(one.join()).not.toBe(two.join());
  });

  it('takes 256 bits, said or not', async () => {
    const said = await derivePassphraseKey('p', parameters(10, { private_key_bits: 256 }));
    const unsaid = await derivePassphraseKey('p', parameters());
    expect(said.join()).toBe(unsaid.join());
  });

  it('gives as many bytes as asked for', async () => {
    const [password, salt] = [Uint8Array.of(1), Uint8Array.of(2)];
    for (const length of [1, 32, 64]) {
      const key = await pbkdf2(password, salt, 3, length);
      expect(key.join()).toBe(pbkdf2Sync(password, salt, 3, length, 'sha512').join());
    }
  });
});

describe('parameters of a hostile server', () => {
  it.each([
    [null, 'bad-parameters'],
    ['text', 'bad-parameters'],
    [undefined, 'bad-parameters'],
    [{}, 'missing-field'],
    [[], 'missing-field'],
    [{ private_key_salt: 's' }, 'missing-field'],
    [{ private_key_iterations: 1 }, 'missing-field'],
    [{ private_key_salt: 1, private_key_iterations: 1 }, 'bad-parameters'],
    [{ private_key_salt: null, private_key_iterations: 1 }, 'bad-parameters'],
    [parameters(0), 'bad-parameters'],
    [parameters(-1), 'bad-parameters'],
    [parameters(10_000_001), 'bad-parameters'],
    [parameters(1.5), 'bad-parameters'],
    [parameters(NaN), 'bad-parameters'],
    [parameters(Infinity), 'bad-parameters'],
    [parameters('500000'), 'bad-parameters'],
    [parameters(null), 'bad-parameters'],
    [parameters([]), 'bad-parameters'],
    [parameters(1, { private_key_bits: 128 }), 'bad-parameters'],
    [parameters(1, { private_key_bits: 512 }), 'bad-parameters'],
    [parameters(1, { private_key_bits: '256' }), 'bad-parameters'],
    [parameters(1, { private_key_bits: null }), 'bad-parameters'],
  ])('%j: %s', async (value, code) => {
    expect((await rejection(derivePassphraseKey('p', value))).code).toBe(code);
  });

  it('may be any JSON', async () => {
    await fc.assert(
      fc.asyncProperty(anyJson, async (value) => {
        const error = await rejection(derivePassphraseKey('SECRET', value));
        expect(error.message).not.toContain('SECRET');
      }),
    );
  });

  it('may ask for one round up to ten million, and not one more', () => {
    checkIterations(1, 'x');
    checkIterations(10_000_000, 'x');
    expect(
      refusal(() => {
        checkIterations(10_000_001, 'x');
      }).message,
    ).toContain('10000001');
  });

  it('needs a text for a passphrase', async () => {
    for (const passphrase of [undefined, null, 1, new Uint8Array(3)]) {
      const error = await rejection(derivePassphraseKey(passphrase as unknown as string, parameters()));
      expect(error.code).toBe('bad-parameters');
    }
  });
});

describe('waiting', () => {
  it('gives the event loop its turns and says how far it is', async () => {
    stubClock(10);
    let turns = 0;
    let running = true;
    const count = () => {
      turns++;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    const seen: Progress[] = [];
    await derivePassphraseKey('p', parameters(5000), { onProgress: (progress) => seen.push(progress) });
    running = false;
    // The clock is read every 256 rounds, and a turn is due at every second look at it.
    expect(turns).toBeGreaterThanOrEqual(8);
    expect(seen.length).toBeGreaterThanOrEqual(8);
    expect(seen.map(({ done }) => done)).toEqual([...seen.map(({ done }) => done)].sort((a, b) => a - b));
    expect(seen.at(-1)).toEqual({ done: 5000, total: 5000, failed: 0 });
  });

  it('gives none too many: without pressing time there is no turn', async () => {
    stubClock(0);
    const seen: Progress[] = [];
    await derivePassphraseKey('p', parameters(2000), { onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([{ done: 2000, total: 2000, failed: 0 }]);
  });

  it('ends when aborted, before and during', async () => {
    stubClock(10);
    const before = AbortSignal.abort('because');
    const early = await rejection(derivePassphraseKey('p', parameters(), { signal: before }));
    expect(early).toMatchObject({ code: 'aborted', cause: 'because' });

    const controller = new AbortController();
    let last = 0;
    const error = await rejection(
      derivePassphraseKey('p', parameters(10_000_000), {
        signal: controller.signal,
        onProgress: ({ done }) => {
          last = done;
          if (done > 2000) controller.abort();
        },
      }),
    );
    expect(error.code).toBe('aborted');
    expect(last).toBeLessThan(5000);
  });
});

describe('a backend', () => {
  const derive = (give: unknown, signal?: AbortSignal, onProgress?: () => void) =>
    derivePassphraseKey('SECRET', parameters(), {
      backend: { name: 'test', pbkdf2: give as Backend['pbkdf2'] },
      signal,
      onProgress,
    });

  it('is used, with everything it needs', async () => {
    let seen: unknown[] = [];
    const { signal } = new AbortController();
    const onProgress = () => undefined;
    const give = (...args: unknown[]) => {
      seen = args.map((arg) => (arg instanceof Uint8Array ? Buffer.from(arg).toString() : arg));
      return Promise.resolve(Buffer.alloc(32, 7));
    };
    const key = await derive(give, signal, onProgress);
    expect(seen.slice(0, 4)).toEqual(['SECRET', 'salt', 10, 32]);
    expect(seen[4]).toEqual({ signal });
    expect([...key]).toEqual(Array(32).fill(7));
    expect(Buffer.isBuffer(key)).toBe(false);
  });

  it('is called as a method', async () => {
    const backend = {
      name: 'test',
      byte: 9,
      pbkdf2() {
        return Promise.resolve(new Uint8Array(32).fill(this.byte));
      },
    };
    const key = await derivePassphraseKey('p', parameters(), { backend });
    expect(key[0]).toBe(9);
  });

  it('may lack the operation', async () => {
    const key = await derivePassphraseKey('p', parameters(), { backend: { name: 'empty' } });
    expect(key.join()).toBe(pbkdf2Sync('p', 'salt', 10, 32, 'sha512').join());
  });

  it.each([
    ['rejects', () => Promise.reject(new Error('no'))],
    ['rejects with no error at all', () => Promise.reject(undefined as unknown as Error)],
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
    ['gives too few bytes', () => Promise.resolve(new Uint8Array(31))],
    ['gives too many bytes', () => Promise.resolve(new Uint8Array(64))],
    ['gives no bytes', () => Promise.resolve(undefined)],
    ['gives a text', () => Promise.resolve('x'.repeat(32))],
  ])('that %s has failed', async (_, give) => {
    expect((await rejection(derive(give))).code).toBe('backend-failed');
  });

  it('that never answers can be left', async () => {
    const controller = new AbortController();
    const waiting = derive(() => new Promise(() => undefined), controller.signal);
    controller.abort();
    expect((await rejection(waiting)).code).toBe('aborted');
  });
});

it('yields even without a progress callback', async () => {
  stubClock(30);
  const key = await pbkdf2(new Uint8Array(1), new Uint8Array(1), 600, 32);
  expect(Buffer.from(key).equals(pbkdf2Sync('\0', '\0', 600, 32, 'sha512'))).toBe(true);
});

it('names the backend and what it was asked for', async () => {
  const backend = { name: 'odd', pbkdf2: () => Promise.resolve(new Uint8Array(31)) };
  const error = await rejection(derivePassphraseKey('p', parameters(), { backend }));
  expect(error.message).toBe('backend odd: pbkdf2: expected 32 bytes, got 31 bytes');
});

import { pbkdf2Sync, randomBytes, webcrypto } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { webCryptoBackend } from '../../src/backends/webcrypto.js';
import { pbkdf2 } from '../../src/scheme/passphrase.js';
import { agreeMany, encapsulateMany } from '../../src/curve25519/x25519.js';
import { backendContract } from '../contracts/backend.js';
import { x25519Contract } from '../contracts/x25519.js';
import { allocations, holding } from '../support/allocations.js';

/** Node's own WebCrypto has X25519 too; the browser's is tested in a browser. */

x25519Contract('WebCrypto', { encapsulateMany, agreeMany: webCryptoBackend().agreeMany });
backendContract('WebCrypto', webCryptoBackend);

describe('what the platform can do', () => {
  const privateKey = new Uint8Array(randomBytes(32));
  const publicKeys = new Uint8Array(randomBytes(32 * 20));
  const { subtle } = webcrypto;

  beforeEach(() => {
    vi.resetModules();
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  async function withSubtle(changed: object | undefined) {
    const spies = new Proxy(subtle, {
      get(target, name) {
        const own = changed && (Reflect.get(changed, name) as unknown);
        const value = own ?? (Reflect.get(target, name) as unknown);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    vi.stubGlobal(
      'crypto',
      changed && { subtle: spies, getRandomValues: webcrypto.getRandomValues.bind(webcrypto) },
    );
    const { webCryptoBackend, webCryptoHasX25519 } = await import('../../src/backends/webcrypto.js');
    return {
      secrets: await webCryptoBackend().agreeMany(privateKey, publicKeys),
      has: await webCryptoHasX25519(),
    };
  }

  test('is asked only when it is needed, and once', async () => {
    const importKey = vi.fn(subtle.importKey.bind(subtle));
    const generateKey = vi.fn(subtle.generateKey.bind(subtle));
    await withSubtle({ importKey, generateKey });
    expect(generateKey).toHaveBeenCalledTimes(1);
    const { webCryptoBackend } = await import('../../src/backends/webcrypto.js');
    await webCryptoBackend().agreeMany(privateKey, publicKeys);
    expect(generateKey).toHaveBeenCalledTimes(1);
    expect(importKey.mock.calls.length).toBeGreaterThan(40);
  });

  test('makes no difference without WebCrypto', async () => {
    const { secrets, has } = await withSubtle(undefined);
    expect(has).toBe(false);
    expect(secrets).toEqual(agreeMany(privateKey, publicKeys));
  });

  test.each([
    ['does not know X25519', { generateKey: () => Promise.reject(new Error('NotSupportedError')) }],
    ['gives other secrets', { deriveBits: () => Promise.resolve(new ArrayBuffer(32)) }],
    [
      'does not refuse low order',
      {
        deriveBits: async (...args: Parameters<typeof subtle.deriveBits>) =>
          subtle.deriveBits(...args).catch(() => new Uint8Array(32).fill(1).buffer),
      },
    ],
  ])('is not trusted when it %s', async (_, changed) => {
    const { secrets, has } = await withSubtle(changed);
    expect(has).toBe(false);
    expect(secrets).toEqual(agreeMany(privateKey, publicKeys));
  });

  test('is done without for a chunk in which it fails', async () => {
    let calls = 0;
    const { secrets, has } = await withSubtle({
      deriveBits: (...args: Parameters<typeof subtle.deriveBits>) =>
        ++calls === 9
          ? Promise.reject(new DOMException('no memory', 'DataError'))
          : subtle.deriveBits(...args),
    });
    expect(has).toBe(true);
    expect(secrets).toEqual(agreeMany(privateKey, publicKeys));
  });

  test('leaves no secret of a chunk in which it fails', async () => {
    let calls = 0;
    let secrets: Uint8Array = new Uint8Array();
    const made = await allocations(async () => {
      ({ secrets } = await withSubtle({
        deriveBits: (...args: Parameters<typeof subtle.deriveBits>) =>
          ++calls === 3
            ? Promise.reject(new DOMException('no memory', 'DataError'))
            : subtle.deriveBits(...args),
      }));
    });
    // Those that were under way when it failed have ended by now. The one array is the result.
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(holding(made, secrets.subarray(32 * 19))).toBe(1);
    expect(holding(made, privateKey)).toBe(0);
  });
});

describe('PBKDF2', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test('of the engine, by a WebCrypto that is not there, asks for it once', async () => {
    let asked = 0;
    vi.stubGlobal('crypto', {
      get subtle() {
        asked++;
        return undefined;
      },
    });
    const [password, salt] = [Uint8Array.of(1), Uint8Array.of(2)];
    expect(await pbkdf2(password, salt, 10, 32, { backend: webCryptoBackend() })).toEqual(
      new Uint8Array(pbkdf2Sync(password, salt, 10, 32, 'sha512')),
    );
    expect(asked).toBe(1);
  });

  test.each([['by WebCrypto'], ['without it']])('%s is PBKDF2-HMAC-SHA-512', async (how) => {
    if (how === 'without it') vi.stubGlobal('crypto', undefined);
    const [passphrase, salt] = [new Uint8Array(randomBytes(9)), new Uint8Array(randomBytes(32))];
    expect(await pbkdf2(passphrase, salt, 1000, 32, { backend: webCryptoBackend() })).toEqual(
      new Uint8Array(pbkdf2Sync(passphrase, salt, 1000, 32, 'sha512')),
    );
  });
});

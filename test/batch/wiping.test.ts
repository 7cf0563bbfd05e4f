import { hkdfSync, randomBytes } from 'node:crypto';
import { x25519 } from '@noble/curves/ed25519.js';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { encryptMany } from '../../src/batch/backend.js';
import { decryptSessions } from '../../src/batch/decrypt.js';
import { encryptSessions, encryptSessionsSync } from '../../src/batch/encrypt.js';
import { invert, invertMany, LIMBS, fromBytes } from '../../src/curve25519/field.js';
import { agreeMany, encapsulateMany, generatePrivateKeys, hasTable } from '../../src/curve25519/x25519.js';
import { BackupDecryptionKey } from '../../src/index.js';
import { pureBackend, type Backend, type CompleteBackend } from '../../src/engine.js';
import { ladderMany } from '../../src/curve25519/montgomery-ladder.js';
import { buildTable, recipientPoint } from '../../src/curve25519/fixed-base-table.js';
import { decryptSessionData, encryptWithEphemeral } from '../../src/scheme/session-data.js';
import { tableProducts } from '../../src/curve25519/fixed-base.js';
import { allocations, holding } from '../support/allocations.js';
import { refusal, rejection, roomKey } from '../support/samples.js';

/** What SECURITY.md says is overwritten, read back. */

const privateKey = new Uint8Array(randomBytes(32));
const key = BackupDecryptionKey.fromBytes(privateKey);
const recipient = key.publicKey.toBytes();
const zeros = (array: ArrayLike<number>) => Array.from(array).every((value) => value === 0);

/** Expects only zeros in all arrays of limbs and digits. */
function expectOnlyZeros(made: Awaited<ReturnType<typeof allocations>>): void {
  const scratch = made.filter((array) => !(array instanceof Uint8Array));
  expect(scratch.length).toBeGreaterThan(0);
  expect(scratch.filter((array) => !zeros(array))).toEqual([]);
}

/** Everything secret about one agreement of the backup's key. */
function secretsOf(ephemeral: Uint8Array): Uint8Array[] {
  const shared = x25519.getSharedSecret(privateKey, ephemeral);
  const derived = new Uint8Array(hkdfSync('sha256', shared, new Uint8Array(32), new Uint8Array(0), 80));
  return [shared, derived.slice(0, 32), derived.slice(32, 64), derived.slice(64), privateKey];
}

describe('an agreement', () => {
  it('by the ladder leaves no digit, limb or secret behind but its results', async () => {
    const publicKeys = x25519.getPublicKey(randomBytes(32));
    let secret: Uint8Array = new Uint8Array();
    const made = await allocations(() => {
      secret = agreeMany(privateKey, publicKeys);
    });
    expect(zeros(secret)).toBe(false);
    expectOnlyZeros(made);
    expect(holding(made, secret)).toBe(1);
  });

  it.each([1, 32, 33])('by the table leaves only its results, %d at once', async (count) => {
    const ephemerals = new Uint8Array(randomBytes(32 * count));
    encapsulateMany(recipient, new Uint8Array(randomBytes(32 * 24)));
    expect(hasTable(recipient)).toBe(true);
    let secrets: Uint8Array = new Uint8Array();
    const made = await allocations(() => {
      secrets = encapsulateMany(recipient, ephemerals).sharedSecrets;
    });
    expectOnlyZeros(made);
    expect(holding(made, secrets.subarray(0, 32))).toBe(1);
  });

  it('wipes the memory that an inversion allocates', async () => {
    const element = new Float64Array(2 * LIMBS);
    const prefix = new Float64Array(LIMBS);
    fromBytes(element, 0, privateKey, 0);
    expectOnlyZeros(
      await allocations(() => {
        invert(element, LIMBS, element, 0);
      }),
    );
    expectOnlyZeros(
      await allocations(() => {
        invertMany(element, 0, 1, prefix);
      }),
    );
  });
});

describe('the generator', () => {
  it('fills the array that it gives, and no other', async () => {
    let keys: Uint8Array = new Uint8Array();
    const made = await allocations(() => {
      keys = generatePrivateKeys(5000);
    });
    expect(zeros(keys)).toBe(false);
    for (const at of [0, 65536, 32 * 4999]) expect(holding(made, keys.subarray(at, at + 32))).toBe(1);
  });
});

describe('one session_data', () => {
  it('encrypted leaves neither the ephemeral key nor anything derived', async () => {
    const ephemeral = new Uint8Array(randomBytes(32));
    const kept = Uint8Array.from(ephemeral);
    const made = await allocations(() => encryptWithEphemeral(Uint8Array.of(1), key.publicKey, ephemeral));
    for (const secret of [kept, ...secretsOf(x25519.getPublicKey(kept))]) {
      expect(holding(made, secret)).toBe(0);
    }
    expect(zeros(ephemeral)).toBe(true);
  });

  it.each([[new Uint8Array(1024 * 1024 + 1)], ['text']])('refused wipes the ephemeral key', (plaintext) => {
    const ephemeral = new Uint8Array(randomBytes(32));
    refusal(() => encryptWithEphemeral(plaintext as Uint8Array, key.publicKey, ephemeral));
    expect(zeros(ephemeral)).toBe(true);
  });

  it('decrypted leaves neither the private key nor anything derived', async () => {
    const sessionData = encryptWithEphemeral(
      Uint8Array.of(1),
      key.publicKey,
      new Uint8Array(randomBytes(32)),
    );
    const ephemeral = new Uint8Array(Buffer.from(sessionData.ephemeral, 'base64'));
    const made = await allocations(() => decryptSessionData(sessionData, key));
    for (const secret of secretsOf(ephemeral)) expect(holding(made, secret)).toBe(0);
  });
});

describe('a chunk', () => {
  const sessions = Array.from({ length: 6 }, () => roomKey());
  const records = encryptSessionsSync(sessions, key.publicKey).map((result) => {
    if (!result.ok) throw result.error;
    return result;
  });
  /** All shared secrets that a backend handed out. */
  let given: Uint8Array[] = [];
  const spying: CompleteBackend = {
    ...pureBackend,
    name: 'spying',
    agreeMany(own, publicKeys) {
      const secrets = agreeMany(own, publicKeys);
      given.push(secrets);
      return Promise.resolve(secrets);
    },
    encapsulateMany(to, ephemeralPrivateKeys) {
      const encapsulated = encapsulateMany(to, ephemeralPrivateKeys);
      given.push(encapsulated.sharedSecrets, ephemeralPrivateKeys);
      return Promise.resolve(encapsulated);
    },
  };
  /** Several chunks under way. */
  const deep: CompleteBackend = { ...spying, pipeline: { chunk: 2, depth: 3 } };

  beforeEach(() => {
    given = [];
  });

  const expectWiped = (chunks: number) => {
    expect(given).toHaveLength(chunks);
    for (const secrets of given) expect(zeros(secrets)).toBe(true);
  };

  it('has no secret left when the consumer stops early', async () => {
    for await (const result of decryptSessions(records, key, { backend: spying })) {
      expect(result.ok).toBe(true);
      break;
    }
    expectWiped(1);
    given = [];
    for await (const result of decryptSessions(records, key, { backend: deep })) {
      expect(result.ok).toBe(true);
      break;
    }
    expectWiped(3);
  });

  it('has none left after an abort', async () => {
    const controller = new AbortController();
    const results = decryptSessions(records, key, { backend: deep, signal: controller.signal });
    await results.next();
    controller.abort();
    expect((await rejection(results.next())).code).toBe('aborted');
    expectWiped(3);
  });

  it('has none left when the consumer goes away while a chunk is worked on', async () => {
    let finish = (): void => undefined;
    const slow: Backend = {
      name: 'slow',
      agreeMany: async (own, publicKeys) => {
        await new Promise<void>((resolve) => (finish = resolve));
        return spying.agreeMany(own, publicKeys);
      },
    };
    const controller = new AbortController();
    const next = decryptSessions(records, key, { backend: slow, signal: controller.signal }).next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    controller.abort();
    expect((await rejection(next)).code).toBe('aborted');
    finish();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expectWiped(1);
  });

  it('has none left when a callback throws', async () => {
    const fault = new Error('of the caller');
    const failing = encryptSessionsBy({
      isVerified: () => {
        throw fault;
      },
    });
    await expect(failing).rejects.toBe(fault);
    expectWiped(2);
    given = [];
    const onProgress = () => {
      throw fault;
    };
    await expect(encryptSessionsBy({ onProgress })).rejects.toBe(fault);
    expectWiped(2);
  });

  it('has none left in one call whose callback throws', async () => {
    const fault = new Error('of the caller');
    const isVerified = () => {
      throw fault;
    };
    const generated: Uint8Array[] = [];
    const getRandomValues = crypto.getRandomValues.bind(crypto);
    const spy = vi.spyOn(crypto, 'getRandomValues').mockImplementation((array) => {
      getRandomValues(array);
      generated.push(Buffer.from(array as Uint8Array)); // not counted below
      return array;
    });
    const made = await allocations(() => {
      expect(() => encryptSessionsSync(sessions, key.publicKey, { isVerified })).toThrow(fault);
    });
    spy.mockRestore();
    expect(generated.map(({ length }) => length)).toEqual([32 * sessions.length]);
    for (let i = 0; i < sessions.length; i++) {
      const ephemeral = new Uint8Array(generated[0].subarray(32 * i, 32 * i + 32));
      expect(holding(made, ephemeral)).toBe(0);
      expect(holding(made, x25519.getSharedSecret(ephemeral, recipient))).toBe(0);
    }
  });

  it('has none left in a worker whose backend fails', async () => {
    const seal = () => {
      throw new Error('broken');
    };
    const plaintexts = [Uint8Array.of(1), Uint8Array.of(2)];
    const failing = encryptMany({ ...spying, seal }, recipient, plaintexts, {});
    expect((await rejection(failing)).code).toBe('backend-failed');
    expectWiped(2);
  });

  async function encryptSessionsBy(options: object): Promise<void> {
    const results = encryptSessions(sessions.slice(0, 3), key.publicKey, { backend: spying, ...options });
    for await (const result of results) expect(result.ok).toBe(true);
  }
});

it('the ladder that a batch falls back to leaves no copy of its results', async () => {
  const point = recipientPoint(recipient);
  if (!point) throw new Error('expected a point of the curve');
  const table = buildTable(recipient, point, 5);
  // All entries the same: the first two that are added meet.
  for (let i = 12; i < table.entries.length; i++) table.entries[i] = table.entries[i % 12];
  let results: Uint8Array[] = [];
  const made = await allocations(() => {
    results = tableProducts([table], privateKey);
  });
  expect(results[0]).toEqual(ladderMany(privateKey, recipient));
  expect(holding(made, results[0])).toBe(1);
});

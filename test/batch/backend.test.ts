import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkBackend,
  decryptMany,
  encryptMany,
  pureBackend,
  type Backend,
  type Pipeline,
} from '../../src/batch/backend.js';
import { decryptSessionData, encryptSessionData } from '../../src/engine.js';
import { BackupDecryptionKey } from '../../src/index.js';
import { KeyBackupError } from '../../src/errors.js';
import {
  open,
  openSessionData,
  parseSessionData,
  seal,
  sealSessionData,
} from '../../src/scheme/session-data.js';
import { LOW_ORDER_POINTS, base64, forge, refusal, rejection, total } from '../support/samples.js';

const key = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x42));
const recipient = key.publicKey.toBytes();
const text = new TextEncoder().encode('text');
const never = () => Promise.reject(new Error('not to be called'));

it('pure JavaScript implements every operation', () => {
  const operations = ['encapsulateMany', 'agreeMany', 'seal', 'open', 'pbkdf2'];
  expect(Object.keys(pureBackend)).toEqual(['name', ...operations]);
  expect(pureBackend.name).toBe('pure JavaScript');
  expect(Object.isFrozen(pureBackend)).toBe(true);
});

it('the pipeline of a backend counts where it replaces the work of that direction', () => {
  const pipeline: Pipeline = { chunk: 7, depth: 3 };
  const backends: Backend[] = [
    { name: 'idle', pipeline },
    { ...pureBackend, name: 'pure', pipeline },
    { name: 'seals', pipeline, encryptMany: never },
    { name: 'encapsulates', pipeline, encapsulateMany: never },
    { ...pureBackend, name: 'opens', pipeline, decryptMany: never },
    { ...pureBackend, name: 'agrees', pipeline, agreeMany: never },
  ];
  const names = (direction: 'encrypt' | 'decrypt') =>
    backends
      .map(checkBackend)
      .filter(({ pipelines }) => pipelines[direction] === pipeline)
      .map(({ name }) => name);
  expect(names('encrypt')).toEqual(['seals', 'encapsulates']);
  expect(names('decrypt')).toEqual(['opens', 'agrees']);
});

describe('sealing and opening by a backend', () => {
  const secret = new Uint8Array(32).fill(5);
  const ephemeral = new Uint8Array(32).fill(6);
  const sealWith = (plaintext: Uint8Array, given: unknown) =>
    checkBackend({ name: 'odd', seal: () => given as never }).seal(secret, plaintext);
  const lengths = [0, 1, 15, 16, 17, 31, 32, 33];

  it('gives what the engine gives', () => {
    for (const length of lengths) {
      const plaintext = new Uint8Array(length).fill(7);
      expect(sealWith(plaintext, seal(secret, plaintext))).toEqual(seal(secret, plaintext));
    }
  });

  it.each<[string, object | undefined, string]>([
    ['nothing', undefined, 'expected 32 bytes, got nothing'],
    ['no ciphertext', { ciphertext: undefined }, 'expected 32 bytes, got nothing'],
    ['a block too few', { ciphertext: new Uint8Array(16) }, 'expected 32 bytes, got 16 bytes'],
    ['a block too many', { ciphertext: new Uint8Array(48) }, 'expected 32 bytes, got 48 bytes'],
    ['no MAC', { mac: undefined }, 'expected 8 bytes, got nothing'],
    ['a whole MAC', { mac: new Uint8Array(32) }, 'expected 8 bytes, got 32 bytes'],
  ])('fails when it seals to %s', (_, change, message) => {
    const plaintext = new Uint8Array(17);
    const given = change && { ...seal(secret, plaintext), ...change };
    expect(refusal(() => sealWith(plaintext, given))).toMatchObject({
      code: 'backend-failed',
      message: `backend odd: seal: ${message}`,
    });
  });

  it('names the backend and the operation that threw', () => {
    const fail = () => {
      throw new Error('lower');
    };
    const failing = checkBackend({ name: 'odd', seal: fail, open: fail });
    const { ciphertext, mac } = seal(secret, text);
    expect(refusal(() => failing.seal(secret, text)).message).toBe('backend odd: seal failed');
    expect(refusal(() => failing.open(secret, ciphertext, mac)).message).toBe('backend odd: open failed');
  });

  it('opens what the engine would have opened, and no other number of blocks', () => {
    const { ciphertext, mac } = seal(secret, text);
    const openWith = (given: unknown) =>
      total(() =>
        openSessionData(
          { ephemeral, ciphertext, mac, salvage: false },
          secret,
          checkBackend({ name: 'odd', open: () => given as never }).open,
        ),
      );
    expect(openWith(open(secret, ciphertext, mac))).toEqual({ plaintext: text, flags: [] });
    expect(openWith(undefined)).toMatchObject({ code: 'mac-mismatch' });
    for (const given of [null, new Uint8Array(0), new Uint8Array(32), 'x'.repeat(16)]) {
      expect(openWith(given)).toMatchObject({
        code: 'backend-failed',
        message: expect.stringMatching(/^backend odd: open: expected 16 bytes, got /) as string,
      });
    }
  });

  it('rejects a secret of zeros from any backend', () => {
    const zeros = new Uint8Array(32);
    expect(refusal(() => sealSessionData(text, ephemeral, zeros)).message).toBe(
      'public key: expected a point of large order, got one of small order',
    );
  });
});

describe('whole chunks', () => {
  it('round-trip in order, with the single calls on either side', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 40 }), async (plaintexts) => {
        const together = await encryptMany(pureBackend, recipient, plaintexts, {});
        const singly = plaintexts.map((plaintext) => encryptSessionData(plaintext, key.publicKey));
        const expected = plaintexts.map((one) => one.join());
        for (const sessionData of [together, singly]) {
          const parsed = sessionData.map((one) => parseSessionData(one));
          const read = await decryptMany(pureBackend, key.toBytes(), parsed, {});
          expect(read.map((one) => !(one instanceof Error) && one.plaintext.join())).toEqual(expected);
          expect(sessionData.map((one) => decryptSessionData(one, key).plaintext.join())).toEqual(expected);
        }
        expect(new Set(together.map(({ ephemeral }) => ephemeral)).size).toBe(plaintexts.length);
      }),
      { numRuns: 40 },
    );
  });

  it('decrypt the good ones among others', async () => {
    const forged = forge(recipient);
    const good = forged.withPlaintext(Uint8Array.of(7));
    const bad: [object, string][] = [
      [{ ...good, mac: 'A'.repeat(11) }, 'mac-mismatch'],
      [{ ...good, ephemeral: base64(LOW_ORDER_POINTS[5]) }, 'low-order-key'],
      [forged.withBlocks(new Uint8Array(16)), 'bad-padding'],
    ];
    const parsed = bad.flatMap(([one]) => [parseSessionData(one), parseSessionData(good)]);
    const read = await decryptMany(pureBackend, key.toBytes(), parsed, {});
    bad.forEach(([, code], i) => {
      expect(read[2 * i]).toMatchObject({ code });
      expect(read[2 * i + 1]).toEqual({ plaintext: Uint8Array.of(7), flags: [] });
    });
    const salvaged = [parseSessionData(forged.withBlocks(new Uint8Array(16)), { salvage: true })];
    expect(await decryptMany(pureBackend, key.toBytes(), salvaged, {})).toMatchObject([
      { flags: ['padding'] },
    ]);
  });

  const giving = (given: unknown) => ({
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
  ])('fail when a backend gives %s, and name it', async (_, given) => {
    const encrypting = rejection(encryptMany(giving(given), recipient, [new Uint8Array(1)], {}));
    expect((await encrypting).message).toMatch(/^backend odd: encryptMany: expected 1 results, got /);
    const decrypting = rejection(decryptMany(giving(given), key.toBytes(), [parsed], {}));
    expect((await decrypting).message).toMatch(/^backend odd: decryptMany: expected 1 results, got /);
  });

  it('may be session_data of the right lengths only', async () => {
    const outcome = (plaintext: Uint8Array, value: unknown) =>
      encryptMany(giving([value]), recipient, [plaintext], {}).then(
        ([one]) => one,
        (error: unknown) => (error as KeyBackupError).code,
      );
    for (const length of [0, 1, 15, 16, 17, 31, 32, 33]) {
      const plaintext = new Uint8Array(length);
      const right = encryptSessionData(plaintext, key.publicKey);
      expect(await outcome(plaintext, right)).toEqual(right);
      for (const name of ['ephemeral', 'mac', 'ciphertext'] as const) {
        const value = right[name];
        for (const wrong of [undefined, null, 5, Array.from(value), value.slice(1), `${value}A`]) {
          expect(await outcome(plaintext, { ...right, [name]: wrong })).toBe('backend-failed');
        }
      }
    }
    for (const value of [undefined, null, 'text', 5, []]) {
      expect(await outcome(new Uint8Array(0), value)).toBe('backend-failed');
    }
  });
});

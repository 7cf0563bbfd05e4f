import { createCipheriv, createDecipheriv, createHmac, hkdfSync, pbkdf2Sync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { x25519 } from '@noble/curves/ed25519.js';
import { expect } from 'vitest';
import { isCurvePoint } from '../../src/curve25519/edwards.js';
import { KeyBackupError, type ExportedSessionData } from '../../src/index.js';

/** What the tests of the engine share: room keys, forged records, and how to look at an error. */

export const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64').replace(/=+$/, '');

/** Codes whose messages tell what happened; those of all others tell what was expected. */
const TELL: readonly string[] = ['aborted', 'backend-failed'];
const EXPECTED = /(?:^|[^\s.:]: )expected [^\s,:]|^the secret storage opened, but \w/;

/** The error itself, once it is one of ours whose message names the matter, what was expected and what came. */
export function wellSaid(error: unknown): KeyBackupError {
  expect(error).toBeInstanceOf(KeyBackupError);
  const { code, message } = error as KeyBackupError;
  expect(message).toMatch(TELL.includes(code) ? /\w{4}/ : EXPECTED);
  // A name that is quoted in it may hold anything.
  const own = message.replace(/"(?:[^"\\]|\\.)*"/g, '"name"');
  expect(own).not.toMatch(/^[\s:.]|\s$| {2}|(?:expected|got) *(?:[,:]|$)/);
  return error as KeyBackupError;
}

/** What a call refuses with. Any other exception, or none, fails the test. */
export function refusal(call: () => unknown): KeyBackupError {
  let value: unknown;
  try {
    value = call();
  } catch (error) {
    return wellSaid(error);
  }
  throw new Error(`expected a refusal, got ${typeof value}`);
}

/** {@link refusal} of a promise. */
export async function rejection(promise: Promise<unknown>): Promise<KeyBackupError> {
  const settled = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  return refusal(() => {
    if ('error' in settled) throw settled.error;
    return settled.value;
  });
}

/** The value of a call, or the error it refuses with; any other exception fails the test. */
export function total<T>(call: () => T): T | KeyBackupError {
  try {
    return call();
  } catch (error) {
    return wellSaid(error);
  }
}

/** A megolm session export with the right form. */
export function sessionKey(index = 0, ed25519: Uint8Array = randomBytes(32), ratchet = randomBytes(128)) {
  const bytes = Buffer.alloc(165);
  bytes[0] = 1;
  bytes.writeUInt32BE(index, 1);
  bytes.set(ratchet, 5);
  bytes.set(ed25519, 133);
  return { bytes: new Uint8Array(bytes), session_key: base64(bytes), session_id: base64(ed25519) };
}

/** An Ed25519 key as a device claims it: half of all sequences of 32 bytes are points of the curve. */
export function claimedKey(): string {
  let bytes = randomBytes(32);
  while (!isCurvePoint(bytes)) bytes = randomBytes(32);
  return base64(bytes);
}

/** A room key, every field as the specification has it. */
export function roomKey(fields: Record<string, unknown> = {}, index = 0): ExportedSessionData {
  const { session_key, session_id } = sessionKey(index);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id: '!room:example.org',
    sender_claimed_keys: { ed25519: claimedKey() },
    sender_key: base64(randomBytes(32)),
    session_id,
    session_key,
    ...fields,
  };
}

export function roomKeys(count: number): ExportedSessionData[] {
  return Array.from({ length: count }, (_, i) => roomKey({ room_id: `!room${i % 7}:example.org` }, i));
}

/** The scheme by node:crypto, with every step open to be done wrongly. */
export function forge(publicKey: Uint8Array, ephemeralPrivateKey: Uint8Array = randomBytes(32)) {
  const secret = x25519.getSharedSecret(ephemeralPrivateKey, publicKey);
  const keys = keysOf(secret);
  const ephemeral = base64(x25519.getPublicKey(ephemeralPrivateKey));
  const macOf = (message: Uint8Array) => createHmac('sha256', keys.macKey).update(message).digest();
  const mac = base64(macOf(new Uint8Array()).subarray(0, 8));
  const blocksOf = (blocks: Uint8Array) => {
    const cipher = createCipheriv('aes-256-cbc', keys.aesKey, keys.iv).setAutoPadding(false);
    return Buffer.concat([cipher.update(blocks), cipher.final()]);
  };
  return {
    ephemeral,
    mac,
    macOf,
    wholeMac: macOf(new Uint8Array()),
    /** `session_data` whose plaintext with padding is exactly these blocks. */
    withBlocks: (blocks: Uint8Array) => ({ ephemeral, mac, ciphertext: base64(blocksOf(blocks)) }),
    /** `session_data` of a plaintext, padded rightly. */
    withPlaintext: (plaintext: Uint8Array) => ({
      ephemeral,
      mac,
      ciphertext: base64(blocksOf(pad(plaintext))),
    }),
  };
}

/** What stands in the blocks of a `session_data`, padding included. */
export function blocksIn(privateKey: Uint8Array, ephemeral: string, ciphertext: Uint8Array): Uint8Array {
  const keys = keysOf(x25519.getSharedSecret(privateKey, Buffer.from(ephemeral, 'base64')));
  const decipher = createDecipheriv('aes-256-cbc', keys.aesKey, keys.iv).setAutoPadding(false);
  return new Uint8Array(Buffer.concat([decipher.update(ciphertext), decipher.final()]));
}

function keysOf(secret: Uint8Array) {
  const all = Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(32), Buffer.alloc(0), 80));
  return { aesKey: all.subarray(0, 32), macKey: all.subarray(32, 64), iv: all.subarray(64) };
}

export function pad(plaintext: Uint8Array): Uint8Array {
  const filler = 16 - (plaintext.length % 16);
  return Buffer.concat([plaintext, Buffer.alloc(filler, filler)]);
}

/** Whether blocks end in PKCS#7, written out as the standard has it. */
export function endsInPkcs7(blocks: Uint8Array): boolean {
  for (let filler = 1; filler <= 16; filler++) {
    if (blocks.length >= filler && blocks.slice(-filler).every((byte) => byte === filler)) return true;
  }
  return false;
}

const littleEndian = (u: bigint) =>
  Uint8Array.from(Buffer.from(u.toString(16).padStart(64, '0'), 'hex').reverse());

const PRIME = 2n ** 255n - 19n;

/** Every encoding of a point of small order: seven below 2^255, and the same with bit 255 set. */
export const LOW_ORDER_POINTS: readonly Uint8Array[] = [
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  PRIME - 1n,
  PRIME,
  PRIME + 1n,
]
  .map(littleEndian)
  .flatMap((u) => [u, withHighBit(u)]);

/** u = p + n, another spelling of n for n below 19. */
export const nonCanonical = (n: bigint): Uint8Array => littleEndian(PRIME + n);

export function withHighBit(u: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(u);
  copy[31] |= 0x80;
  return copy;
}

export function withBitFlipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[bit >> 3] ^= 1 << (bit & 7);
  return copy;
}

export const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

/**
 * Any character, as `unit` of a string. The `binary` of fast-check itself first makes a table of all of them: 0.7 s and 140 MB
 * in every process.
 */
export const anyCharacter = fc.integer({ min: 0, max: 0x10f7ff }).map(
  (n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800),
  (text) => {
    const n = typeof text === 'string' ? text.codePointAt(0) : undefined;
    if (n === undefined || String.fromCodePoint(n) !== text || (n >= 0xd800 && n < 0xe000)) {
      throw new Error('expected one character');
    }
    return n < 0xd800 ? n : n - 0x800;
  },
);

/** Any sequence of UTF-16 units, lone surrogates included. */
export const anyText = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 0xffff }),
      fc.integer({ min: 0xd700, max: 0xe0ff }),
      fc.integer({ min: 0, max: 0x7f }),
    ),
  )
  .map((units) => String.fromCharCode(...units));

/** Any JSON with names that a careless object would trip over. */
export const anyJson = fc.jsonValue({ stringUnit: anyCharacter }).chain((value) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant<unknown>(value) },
    fc
      .constantFrom(
        '__proto__',
        'constructor',
        'toString',
        'session_data',
        'ephemeral',
        'public_key',
        'toJSON',
      )
      .map((name): unknown => JSON.parse(`{${JSON.stringify(name)}:${JSON.stringify(value)}}`)),
  ),
);

/** Collects an async iterable. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export interface SealedExport {
  readonly passphrase: string;
  readonly plaintext: Uint8Array | string;
  readonly rounds?: number;
  /** The rounds that the file names. */
  readonly roundsField?: number;
  readonly iv?: Uint8Array;
  readonly version?: number;
  readonly change?: (bytes: Buffer) => Buffer;
}

/** A key export file by node:crypto, with every step open to be done wrongly. */
export function sealedExport(made: SealedExport): string {
  const { passphrase, plaintext, rounds = 10, roundsField = rounds, version = 1 } = made;
  const { iv = randomBytes(16), change = (bytes) => bytes } = made;
  const salt = randomBytes(16);
  const keys = pbkdf2Sync(passphrase, salt, rounds, 64, 'sha512');
  const cipher = createCipheriv('aes-256-ctr', keys.subarray(0, 32), iv);
  const n = Buffer.alloc(4);
  n.writeUInt32BE(roundsField);
  const covered = Buffer.concat([Buffer.of(version), salt, iv, n, cipher.update(plaintext), cipher.final()]);
  const mac = createHmac('sha256', keys.subarray(32)).update(covered).digest();
  const lines = change(Buffer.concat([covered, mac])).toString('base64');
  return `-----BEGIN MEGOLM SESSION DATA-----\n${lines}\n-----END MEGOLM SESSION DATA-----\n`;
}

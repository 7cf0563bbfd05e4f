import { expectInstance, expectMethod, expectOptions } from '../encoding/arguments.js';
import { cbc } from '@noble/ciphers/aes.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64Decode, base64Encode } from '../encoding/base64.js';
import {
  copyBytes,
  equal,
  expectAnyBytes,
  expectBytes,
  isZero,
  plainBytes,
  wipe,
} from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import { expectObject, expectString } from '../encoding/json.js';
import { BackupPublicKey, decodeKey, lowOrderKey, type BackupDecryptionKey } from './keys.js';
import { agreeMany, encapsulateMany, generatePrivateKeys } from '../curve25519/x25519.js';

/**
 * The scheme `m.megolm_backup.v1.curve25519-aes-sha2`.
 *
 * An ephemeral X25519 key agrees with the backup's public key. HKDF-SHA-256 of the shared secret (salt 32 zero bytes,
 * no info, 80 bytes) gives an AES key, a MAC key and an IV. AES-256-CBC with PKCS#7 encrypts.
 *
 * ITS FLAW: the MAC is the first 8 bytes of HMAC-SHA-256 over the EMPTY string, not over the ciphertext. It began as a
 * bug in libolm, and the specification has documented it since v1.10. The MAC proves only that both sides derived the
 * same secret. Anyone can change the ciphertext, and anyone who knows the public key, the server included, can add
 * sessions. Nothing decrypted here is authenticated.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 */

/** A room key takes about 1 KB. Anything longer than this is rejected before any work is done on it. */
export const MAX_PLAINTEXT_BYTES = 1024 * 1024;

const MAX_CIPHERTEXT_CHARACTERS = Math.ceil(((MAX_PLAINTEXT_BYTES + 16) / 3) * 4) + 2;
const BLOCK = 16;
/** Bytes of the MAC on the wire. */
export const MAC_LENGTH = 8;
const HASH = 32;

/** `session_data` on the wire: three fields of unpadded base64. */
export interface SessionData {
  /** 43 characters: the ephemeral public key. */
  readonly ephemeral: string;
  /** AES-256-CBC of the plaintext. */
  readonly ciphertext: string;
  /** 11 characters: 8 bytes of the HMAC of the EMPTY string, which does not protect the ciphertext. */
  readonly mac: string;
  /** Holds the `backup_mac`, if there is one, which does protect it. */
  readonly unsigned?: Readonly<Record<string, unknown>>;
}

/** A fault that `salvage` overlooked. */
export type SessionDataFlag =
  /** The MAC was not 8 bytes long; the bytes that it has are right. */
  | 'mac-length'
  /** The padding was not PKCS#7; the last byte said how many bytes to cut off. */
  | 'padding';

/** How strictly to read. */
export interface ReadOptions {
  /** Accept malformed data that another deployed implementation accepts, and flag it. Default false. */
  readonly salvage?: boolean | undefined;
}

/** The parts of `session_data` made with the shared secret. */
export interface Sealed {
  readonly ciphertext: Uint8Array;
  /** 8 bytes of HMAC-SHA-256 of the EMPTY string. */
  readonly mac: Uint8Array;
}

/** A decrypted `session_data`. */
export interface OpenedSessionData {
  /** The plaintext; the caller owns it. It is NOT authenticated: see the flaw of the scheme. */
  readonly plaintext: Uint8Array;
  /** Empty unless `salvage` was needed. */
  readonly flags: readonly SessionDataFlag[];
}

/**
 * Encrypts one plaintext to a backup's public key under a new ephemeral key.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param plaintext - 0 to 1,048,576 bytes: the JSON of a room key. It is not changed.
 * @param recipient - The backup's public key, once it is known to be the user's own (`verifyAuthData`).
 * @returns A new object of three strings, all unpadded base64.
 * @throws {@link KeyBackupError} `too-large`; `bad-parameters` if the plaintext is not bytes.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey } from 'megolm-backup';
 * import { decryptSessionData, encryptSessionData } from 'megolm-backup/engine';
 *
 * const key = BackupDecryptionKey.generate();
 * const sessionData = encryptSessionData(Uint8Array.of(1, 2, 3), key.publicKey);
 * console.log(decryptSessionData(sessionData, key).plaintext); // Uint8Array(3) [ 1, 2, 3 ]
 * ```
 */
export function encryptSessionData(plaintext: Uint8Array, recipient: BackupPublicKey): SessionData {
  return encryptWithEphemeral(plaintext, recipient, generatePrivateKeys(1));
}

/**
 * {@link encryptSessionData} under a given ephemeral key, which it wipes, for test vectors only: the same one for two
 * plaintexts repeats key AND IV.
 */
export function encryptWithEphemeral(
  plaintext: Uint8Array,
  recipient: BackupPublicKey,
  ephemeralPrivateKey: Uint8Array,
): SessionData {
  expectBytes(ephemeralPrivateKey, 32, 'ephemeral private key');
  try {
    checkPlaintext(plaintext);
    const { ephemeralPublicKeys, sharedSecrets } = encapsulateMany(
      expectInstance(recipient, BackupPublicKey, 'public key').toBytes(),
      ephemeralPrivateKey,
    );
    try {
      return sealSessionData(plaintext, ephemeralPublicKeys, sharedSecrets);
    } finally {
      wipe(sharedSecrets);
    }
  } finally {
    wipe(ephemeralPrivateKey);
  }
}

/** @throws {@link KeyBackupError} `bad-parameters`, `too-large`. */
export function checkPlaintext(plaintext: unknown): asserts plaintext is Uint8Array {
  expectAnyBytes(plaintext, 'plaintext');
  if (plaintext.length > MAX_PLAINTEXT_BYTES) {
    throw new KeyBackupError('too-large', `plaintext: expected at most 1 MiB, got ${plaintext.length} bytes`);
  }
}

/** Encryption after the agreement. */
export function sealSessionData(
  plaintext: Uint8Array,
  ephemeralPublicKey: Uint8Array,
  sharedSecret: Uint8Array,
  sealBy: typeof seal = seal,
): SessionData {
  expectSecret(sharedSecret, 'public key');
  const { ciphertext, mac } = sealBy(sharedSecret, plaintext);
  return {
    ephemeral: base64Encode(ephemeralPublicKey),
    ciphertext: base64Encode(ciphertext),
    mac: base64Encode(mac),
  };
}

/** The length of the ciphertext: PKCS#7 adds 1 to 16 bytes. */
export function sealedLength({ length }: Uint8Array): number {
  return length - (length % BLOCK) + BLOCK;
}

/**
 * Decrypts one `session_data`.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param sessionData - From the server, unchecked. Base64 may be padded.
 * @param key - The backup's decryption key.
 * @returns The plaintext, which the caller owns, and what `salvage` overlooked.
 * @throws {@link KeyBackupError} `bad-json`, `missing-field`, `bad-base64`, `bad-length` (ephemeral not 32
 * bytes), `bad-mac-length`, `bad-ciphertext-length` (empty or not whole blocks), `too-large`, `low-order-key`,
 * `mac-mismatch` (another key), `bad-padding`; `bad-parameters` when the key is disposed. The code reveals whether the
 * padding is valid: do not relay it to the supplier of the ciphertext.
 */
export function decryptSessionData(
  sessionData: unknown,
  key: BackupDecryptionKey,
  options: ReadOptions = {},
): OpenedSessionData {
  expectOptions(options);
  const parsed = parseSessionData(sessionData, options);
  const privateKey = expectMethod(key, 'matches', 'decryption key').toBytes();
  const sharedSecret = agreeMany(privateKey, parsed.ephemeral);
  try {
    const { plaintext, flags } = openSessionData(parsed, sharedSecret);
    return { plaintext: copyBytes(plaintext), flags };
  } finally {
    wipe(privateKey, sharedSecret);
  }
}

/** A `session_data`, decoded and checked as far as possible without a key. */
export interface ParsedSessionData {
  /** 32 bytes. */
  readonly ephemeral: Uint8Array;
  /** One or more blocks of 16 bytes. */
  readonly ciphertext: Uint8Array;
  /** 8 bytes; 1 to 32 when salvaging. */
  readonly mac: Uint8Array;
  readonly salvage: boolean;
}

/** Decryption before the agreement. Errors as in {@link decryptSessionData}. */
export function parseSessionData(sessionData: unknown, options: ReadOptions = {}): ParsedSessionData {
  const salvage = options.salvage === true;
  const object = expectObject(sessionData, 'session_data');
  const ephemeral = decodeKey(expectString(object, 'ephemeral', 'session_data'), 'session_data.ephemeral');
  const macText = expectString(object, 'mac', 'session_data');
  // A text as long as that is not worth decoding.
  const mac = macText.length > 256 ? undefined : base64Decode(macText, 'session_data.mac');
  if (mac?.length !== MAC_LENGTH && !(salvage && mac && mac.length >= 1 && mac.length <= 32)) {
    const expected = salvage ? '1 to 32 bytes' : '8 bytes';
    const got = mac?.length ?? `${macText.length} characters`;
    throw new KeyBackupError('bad-mac-length', `session_data.mac: expected ${expected}, got ${got}`);
  }
  const text = expectString(object, 'ciphertext', 'session_data');
  if (text.length > MAX_CIPHERTEXT_CHARACTERS) {
    throw new KeyBackupError(
      'too-large',
      `session_data.ciphertext: expected at most ${MAX_CIPHERTEXT_CHARACTERS} characters, got ${text.length}`,
    );
  }
  const ciphertext = base64Decode(text, 'session_data.ciphertext');
  if (ciphertext.length === 0 || ciphertext.length % BLOCK !== 0) {
    throw new KeyBackupError(
      'bad-ciphertext-length',
      `session_data.ciphertext: expected one or more blocks of 16 bytes, got ${ciphertext.length} bytes`,
    );
  }
  return { ephemeral, ciphertext, mac, salvage };
}

/**
 * Decryption after the agreement. Errors as in {@link decryptSessionData}. The plaintext is a view with the padding
 * behind it: copy it before handing it out.
 */
export function openSessionData(
  parsed: ParsedSessionData,
  sharedSecret: Uint8Array,
  openBy: typeof open = open,
): OpenedSessionData {
  expectSecret(sharedSecret, 'session_data.ephemeral');
  const padded = openBy(sharedSecret, parsed.ciphertext, parsed.mac);
  if (!padded) {
    throw new KeyBackupError(
      'mac-mismatch',
      'session_data.mac: expected the MAC of this key, got another one',
    );
  }
  const flags: SessionDataFlag[] = parsed.mac.length === MAC_LENGTH ? [] : ['mac-length'];
  const length = unpaddedLength(padded);
  if (length !== undefined) return { plaintext: padded.subarray(0, length), flags };
  // As libolm does: cut off the number of bytes that the last one says, and check no other.
  const cut = padded[padded.length - 1];
  if (!parsed.salvage || cut > padded.length) {
    throw new KeyBackupError('bad-padding', 'session_data.ciphertext: expected valid PKCS#7 padding');
  }
  flags.push('padding');
  return { plaintext: padded.subarray(0, padded.length - cut), flags };
}

/** The length of the plaintext in padded blocks, or `undefined` if the padding is not PKCS#7. */
export function unpaddedLength(padded: Uint8Array): number | undefined {
  const filler = padded[padded.length - 1];
  if (filler < 1 || filler > Math.min(BLOCK, padded.length)) return undefined;
  const length = padded.length - filler;
  for (let i = length; i < padded.length; i++) if (padded[i] !== filler) return undefined;
  return length;
}

/** An all-zero secret means a point of small order: everyone knows it, so it protects nothing. */
function expectSecret(sharedSecret: Uint8Array, field: string): void {
  if (isZero(sharedSecret)) throw lowOrderKey(field);
}

/** HKDF, AES-256-CBC with PKCS#7 and the MAC, in pure JavaScript: `Backend.seal`. */
export function seal(sharedSecret: Uint8Array, plaintext: Uint8Array): Sealed {
  const keys = deriveKeys(sharedSecret);
  const { aesKey, iv, mac } = keys;
  try {
    return { ciphertext: cbc(aesKey, iv).encrypt(plainBytes(plaintext)), mac: mac.slice(0, MAC_LENGTH) };
  } finally {
    wipe(keys.all);
  }
}

/** HKDF, the MAC check and AES-256-CBC, padding still in place, in pure JavaScript: `Backend.open`. */
export function open(
  sharedSecret: Uint8Array,
  ciphertext: Uint8Array,
  mac: Uint8Array,
): Uint8Array | undefined {
  const keys = deriveKeys(sharedSecret);
  try {
    const matches = equal(keys.mac.subarray(0, mac.length), mac);
    return matches ? cbc(keys.aesKey, keys.iv, { disablePadding: true }).decrypt(ciphertext) : undefined;
  } finally {
    wipe(keys.all);
  }
}

let scratch: { readonly extract: Hmac; readonly expand: Hmac } | undefined;

/**
 * HKDF-SHA-256 of a shared secret: the AES key, the IV, the HMAC of the EMPTY string, and `all` their memory, to wipe.
 */
export function deriveKeys(
  sharedSecret: Uint8Array,
): Readonly<Record<'aesKey' | 'iv' | 'mac' | 'all', Uint8Array>> {
  scratch ??= { extract: new Hmac().setKey(new Uint8Array(HASH)), expand: new Hmac() };
  const { extract, expand } = scratch;
  const all = new Uint8Array(4 * HASH);
  const [first, second, third, mac] = [0, 1, 2, 3].map((i) => all.subarray(HASH * i, HASH * (i + 1)));
  extract.digestInto(first, sharedSecret);
  // T(1) = HMAC(1), T(n) = HMAC(T(n-1) | n).
  expand.setKey(first).digestInto(first, Uint8Array.of(1));
  expand.digestInto(second, first, Uint8Array.of(2));
  expand.digestInto(third, second, Uint8Array.of(3));
  // The flaw of the scheme: the MAC of the EMPTY string, not of the ciphertext.
  expand.setKey(second).digestInto(mac);
  expand.dispose();
  return { aesKey: first, iv: third.subarray(0, 16), mac, all };
}

/** HMAC-SHA-256 for many keys of 32 bytes: noble's makes new hash objects for each, which takes half as long again. */
class Hmac {
  readonly #fresh = sha256.create();
  readonly #inner = sha256.create();
  readonly #outer = sha256.create();
  readonly #running = sha256.create();
  readonly #block = new Uint8Array(64);

  setKey(key: Uint8Array): this {
    this.#absorb(this.#inner, key, 0x36);
    this.#absorb(this.#outer, key, 0x5c);
    this.#block.fill(0);
    return this;
  }

  #absorb(hash: ReturnType<typeof sha256.create>, key: Uint8Array, pad: number): void {
    for (let i = 0; i < HASH; i++) this.#block[i] = key[i] ^ pad;
    this.#block.fill(pad, HASH);
    this.#fresh._cloneInto(hash).update(this.#block);
  }

  /** @param out - 32 bytes; it may be part of the message. */
  digestInto(out: Uint8Array, ...message: readonly Uint8Array[]): void {
    const running = this.#inner._cloneInto(this.#running);
    for (const part of message) running.update(part);
    running.digestInto(out);
    this.#outer._cloneInto(running).update(out).digestInto(out);
    running.destroy();
  }

  /** Wipes the key. */
  dispose(): void {
    this.#inner.destroy();
    this.#outer.destroy();
  }
}

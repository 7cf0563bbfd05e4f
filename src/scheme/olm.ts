/**
 * libolm's `PkEncryption`, `PkDecryption` and `PkSigning` over this engine: the same methods, strings in and out, and
 * libolm's messages in the errors, whose `cause` is the {@link KeyBackupError}. `docs/migrating-from-libolm.md` lists the
 * differences. New code should use `megolm-backup`.
 *
 * @packageDocumentation
 */

import { cbc } from '@noble/ciphers/aes.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { publicSigningKeyOf, sign } from '../curve25519/ed25519.js';
import { base64Decode, base64Encode } from '../encoding/base64.js';
import { concat, equal, isBytes, SecretBytes, wipe } from '../encoding/bytes.js';
import { utf8Decode, utf8Encode } from '../encoding/utf8.js';
import { KeyBackupError, type ErrorCode } from '../errors.js';
import { BackupDecryptionKey, BackupPublicKey } from './keys.js';
import { decryptSessionData, encryptSessionData } from './session-data.js';

/** What {@link PkEncryption.encrypt} returns: three fields of unpadded base64. */
export interface PkMessage {
  readonly ciphertext: string;
  /** 8 bytes of an HMAC of the EMPTY string. */
  readonly mac: string;
  readonly ephemeral: string;
}

/**
 * Encrypts texts for a public key.
 *
 * @example
 * ```ts
 * import { PkDecryption, PkEncryption } from 'megolm-backup/olm';
 *
 * const decryption = new PkDecryption();
 * const encryption = new PkEncryption();
 * encryption.set_recipient_key(decryption.generate_key());
 * const { ephemeral, mac, ciphertext } = encryption.encrypt('a room key');
 * console.log(decryption.decrypt(ephemeral, mac, ciphertext)); // a room key
 * ```
 */
export class PkEncryption {
  #recipient: BackupPublicKey | undefined;

  /**
   * Sets the public key to encrypt for.
   *
   * @param key - 43 characters of unpadded base64.
   */
  set_recipient_key(key: string): void {
    this.#recipient = orOlmError(() => BackupPublicKey.fromBase64(key));
  }

  /** Encrypts a text under a new ephemeral key. */
  encrypt(plaintext: string): PkMessage {
    const recipient = expectReady(this.#recipient);
    return orOlmError(() => {
      const { ciphertext, mac, ephemeral } = encryptSessionData(utf8Encode(plaintext), recipient);
      return { ciphertext, mac, ephemeral };
    });
  }

  /** Forgets the public key. */
  free(): void {
    this.#recipient = undefined;
  }
}

/** Decrypts what {@link PkEncryption} encrypted. */
export class PkDecryption {
  #key: BackupDecryptionKey | undefined;

  /**
   * @param key - 32 bytes; they are copied.
   * @returns The public key, in unpadded base64, as {@link PkDecryption.generate_key} and {@link PkDecryption.unpickle} do.
   */
  init_with_private_key(key: Uint8Array): string {
    return this.#use(orOlmError(() => BackupDecryptionKey.fromBytes(key)));
  }

  /**
   * Makes a new key.
   *
   * @returns The public key, in unpadded base64.
   */
  generate_key(): string {
    return this.#use(BackupDecryptionKey.generate());
  }

  /** @returns A copy of the 32 bytes. */
  get_private_key(): Uint8Array {
    return expectReady(this.#key).toBytes();
  }

  /**
   * @param key - What encrypts the pickle: a text or bytes.
   * @returns libolm's form of the key: unpadded base64.
   */
  pickle(key: string | Uint8Array): string {
    const pickled = expectReady(this.#key);
    const privateKey = pickled.toBytes();
    const plain = concat(PICKLE_VERSION, pickled.publicKey.toBytes(), privateKey);
    const { aesKey, macKey, iv, all } = pickleKeys(key);
    try {
      const ciphertext = cbc(aesKey, iv).encrypt(plain);
      return base64Encode(concat(ciphertext, pickleMac(macKey, ciphertext)));
    } finally {
      wipe(plain, privateKey, all);
    }
  }

  /** Takes the key out of a pickle, also one of libolm. */
  unpickle(key: string | Uint8Array, pickle: string): string {
    const { aesKey, macKey, iv, all } = pickleKeys(key);
    let plain = new Uint8Array();
    try {
      const bytes = base64Decode(pickle, 'pickle');
      const ciphertext = bytes.subarray(0, -PICKLE_MAC);
      const isWhole = equal(pickleMac(macKey, ciphertext), bytes.subarray(-PICKLE_MAC));
      if (isWhole) plain = cbc(aesKey, iv).decrypt(ciphertext);
      if (plain.length === 68 && equal(plain.subarray(0, 4), PICKLE_VERSION)) {
        return this.#use(BackupDecryptionKey.fromBytes(plain.subarray(36)));
      }
    } catch {
      // It is no pickle, which the error below says.
    } finally {
      wipe(plain, all);
    }
    throw new Error('OLM.BAD_ACCOUNT_KEY');
  }

  /** Checks the MAC and decrypts the three fields of a {@link PkMessage} to its text. */
  decrypt(ephemeral: string, mac: string, ciphertext: string): string {
    const key = expectReady(this.#key);
    return orOlmError(() => {
      const { plaintext } = decryptSessionData({ ephemeral, mac, ciphertext }, key);
      return utf8Decode(plaintext, 'plaintext');
    }, 'OLM.INVALID_BASE64');
  }

  /** Overwrites the key. */
  free(): void {
    this.#key?.dispose();
    this.#key = undefined;
  }

  #use(key: BackupDecryptionKey): string {
    this.free();
    this.#key = key;
    return key.publicKey.toBase64();
  }
}

/** Signs texts with Ed25519. */
export class PkSigning {
  #seed: SecretBytes | undefined;

  /**
   * @param seed - 32 bytes; they are copied.
   * @returns The public key, in unpadded base64.
   */
  init_with_seed(seed: Uint8Array): string {
    if (!isBytes(seed) || seed.length !== 32) throw new Error(TOO_SMALL);
    this.free();
    this.#seed = new SecretBytes(seed.slice(), 'seed');
    return base64Encode(publicSigningKeyOf(seed));
  }

  /** Makes a seed of 32 random bytes; {@link PkSigning.init_with_seed} takes it. */
  generate_seed(): Uint8Array {
    return randomBytes(32);
  }

  /** @returns The signature, in unpadded base64. */
  sign(message: string): string {
    return base64Encode(sign(expectReady(this.#seed).value, utf8Encode(message)));
  }

  /** Overwrites the seed. */
  free(): void {
    this.#seed?.dispose();
    this.#seed = undefined;
  }
}

const TOO_SMALL = 'OLM.OLM_INPUT_BUFFER_TOO_SMALL';

/** libolm's words for an error; anything else is a message that cannot be opened. */
const MESSAGES: Partial<Record<ErrorCode, string>> = {
  'mac-mismatch': 'OLM.BAD_MESSAGE_MAC',
  'bad-base64': 'OLM.INVALID_BASE64',
  'bad-json': 'OLM.INVALID_BASE64',
  'bad-mac-length': 'OLM.INVALID_BASE64',
};

/** @param lengths - The message for a key of another length. */
function orOlmError<T>(work: () => T, lengths = TOO_SMALL): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof KeyBackupError)) throw cause;
    const message = cause.code === 'bad-length' ? lengths : MESSAGES[cause.code];
    throw new Error(message ?? 'OLM.BAD_MESSAGE_FORMAT', { cause });
  }
}

/** libolm would go on with a key of zeros, which everyone has. */
function expectReady<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('OLM.NOT_INITIALISED');
  return value;
}

// A pickle: version, public and private key, AES-256-CBC and HMAC with keys of HKDF-SHA-256.
const PICKLE_VERSION = Uint8Array.of(0, 0, 0, 1);
const PICKLE_MAC = 8;

function pickleKeys(key: string | Uint8Array) {
  const all = hkdf(sha256, isBytes(key) ? key : utf8Encode(key), undefined, utf8Encode('Pickle'), 80);
  return { aesKey: all.subarray(0, 32), macKey: all.subarray(32, 64), iv: all.subarray(64), all };
}

function pickleMac(macKey: Uint8Array, ciphertext: Uint8Array): Uint8Array {
  return hmac(sha256, macKey, ciphertext).subarray(0, PICKLE_MAC);
}

import { expectInstance, expectMethod, expectOptions } from '../encoding/arguments.js';
import { cbc } from '@noble/ciphers/aes.js';
import { base64Decode, base64Encode } from '../encoding/base64.js';
import { copyBytes, equal, expectBytes, isBytes, isZero, plainBytes, wipe } from '../encoding/bytes.js';
import { deriveKeys } from './derived-keys.js';
import { KeyBackupError, describe } from '../errors.js';
import { expectObject, expectString } from '../encoding/json.js';
import { BackupPublicKey, type BackupDecryptionKey } from './keys.js';
import { agreeMany, encapsulateMany, generatePrivateKeys } from '../curve25519/x25519.js';

/**
 * The scheme: `m.megolm_backup.v1.curve25519-aes-sha2`.
 *
 * An ephemeral X25519 key agrees with the backup's public key; HKDF-SHA-256 of the shared secret (salt 32 zero
 * bytes, no info, 80 bytes) gives an AES key, a MAC key and an IV; AES-256-CBC with PKCS#7 encrypts.
 *
 * ITS FLAW: the MAC is the first 8 bytes of HMAC-SHA-256 over the EMPTY string, not over the ciphertext. An
 * early library made it so, every client copied it, and the specification has said so since v1.10. It proves
 * only that both ends derived the same secret. The ciphertext can be changed, and anyone who knows the public
 * key, the server above all, can add sessions. Nothing that comes out of here is authenticated.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 */

/** One room key takes about 1 KB. What is longer than this is refused before any work is done on it. */
export const MAX_PLAINTEXT_BYTES = 1024 * 1024;

const MAX_CIPHERTEXT_CHARACTERS = Math.ceil(((MAX_PLAINTEXT_BYTES + 16) / 3) * 4) + 2;
const BLOCK = 16;
/** Bytes of the MAC on the wire. */
export const MAC_LENGTH = 8;

/** `session_data` as it stands on the wire: three fields of unpadded base64. */
export interface SessionData {
  /** 43 characters: the ephemeral public key. */
  readonly ephemeral: string;
  /** AES-256-CBC of the plaintext. */
  readonly ciphertext: string;
  /** 11 characters: 8 bytes of the HMAC of the EMPTY string. It does not protect the ciphertext. */
  readonly mac: string;
  /** Where a `backup_mac` stands, which does protect it. */
  readonly unsigned?: Readonly<Record<string, unknown>>;
}

/** What the salvage reading had to overlook. */
export type SessionDataFlag =
  /** The MAC was not 8 bytes; as many bytes as it has are right. */
  | 'mac-length'
  /** The padding was not PKCS#7; as many bytes were cut off as its last byte says. */
  | 'padding';

/** How strictly to read. */
export interface ReadOptions {
  /** Accept what one deployed peer accepts although it is malformed, and say so by flags. Default false. */
  readonly salvage?: boolean | undefined;
}

/** What sealing gives: the two parts of `session_data` that the shared secret makes. */
export interface Sealed {
  readonly ciphertext: Uint8Array;
  /** 8 bytes: HMAC-SHA-256 of the EMPTY string. It says that both ends derived the same keys, nothing else. */
  readonly mac: Uint8Array;
}

/** A decrypted `session_data`. */
export interface OpenedSessionData {
  /** The plaintext; the caller owns it. NOT authenticated, see the flaw of the scheme. */
  readonly plaintext: Uint8Array;
  /** Empty unless salvage was needed. */
  readonly flags: readonly SessionDataFlag[];
}

/**
 * Encrypts one plaintext to a backup's public key under a new ephemeral key.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param plaintext - 0 to 1,048,576 bytes: the JSON of a room key. It is not changed.
 * @param recipient - The backup's public key, once it is known to be the user's own (`verifyAuthData`).
 * @returns A new object of three strings, all unpadded base64.
 * @throws {@link KeyBackupError} `too-large`; `bad-parameters` for a plaintext that is no bytes.
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
 * {@link encryptSessionData} under an ephemeral key that the caller chose: for test vectors only, since using
 * one twice for two plaintexts repeats key AND IV.
 *
 * @param ephemeralPrivateKey - 32 bytes; wiped, also when the plaintext is refused.
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
  if (!isBytes(plaintext)) {
    throw new KeyBackupError('bad-parameters', `plaintext: expected bytes, got ${describe(plaintext)}`);
  }
  if (plaintext.length > MAX_PLAINTEXT_BYTES) {
    throw new KeyBackupError(
      'too-large',
      `plaintext: expected at most ${MAX_PLAINTEXT_BYTES} bytes, got ${plaintext.length}`,
    );
  }
}

/** The half of encryption after the agreement: what both the single call and the batch do with a secret. */
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

/** How many bytes of ciphertext a plaintext comes to: PKCS#7 adds 1 to 16. */
export function sealedLength({ length }: Uint8Array): number {
  return length - (length % BLOCK) + BLOCK;
}

/**
 * Decrypts one `session_data`.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param sessionData - As it came from the server: nothing about it is assumed. Base64 may be padded.
 * @param key - The backup's decryption key.
 * @returns The plaintext, which the caller owns, and what had to be overlooked.
 * @throws {@link KeyBackupError} `bad-json`, `missing-field`, `bad-base64`, `bad-length` (ephemeral not 32
 * bytes), `bad-mac-length`, `bad-ciphertext-length` (empty or not whole blocks), `too-large`, `low-order-key`,
 * `mac-mismatch` (another key), `bad-padding`; `bad-parameters` when the key is disposed. The code tells apart what a damaged ciphertext does to the
 * padding: do not relay it to whoever supplied the ciphertext.
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

/** A `session_data` decoded and checked as far as is possible without a key. */
export interface ParsedSessionData {
  /** 32 bytes. */
  readonly ephemeral: Uint8Array;
  /** One or more blocks of 16 bytes. */
  readonly ciphertext: Uint8Array;
  /** 8 bytes; 1 to 32 when salvaging. */
  readonly mac: Uint8Array;
  readonly salvage: boolean;
}

/** The half of decryption before the agreement. Errors as {@link decryptSessionData} names them. */
export function parseSessionData(sessionData: unknown, options: ReadOptions = {}): ParsedSessionData {
  const salvage = options.salvage === true;
  const object = expectObject(sessionData, 'session_data');
  const ephemeral = decodeShort(expectString(object, 'ephemeral', 'session_data'), 'session_data.ephemeral');
  expectBytes(ephemeral, 32, 'session_data.ephemeral');
  const mac = decodeShort(expectString(object, 'mac', 'session_data'), 'session_data.mac', 'bad-mac-length');
  if (mac.length !== MAC_LENGTH && !(salvage && mac.length >= 1 && mac.length <= 32)) {
    const expected = salvage ? '1 to 32 bytes' : '8 bytes';
    throw new KeyBackupError('bad-mac-length', `session_data.mac: expected ${expected}, got ${mac.length}`);
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

/** Decodes a field that is 32 bytes at the most, without decoding what is absurdly long. */
function decodeShort(
  text: string,
  field: string,
  code: 'bad-length' | 'bad-mac-length' = 'bad-length',
): Uint8Array {
  if (text.length > 256)
    throw new KeyBackupError(code, `${field}: expected at most 44 characters, got ${text.length}`);
  return base64Decode(text, field);
}

/**
 * The half of decryption after the agreement. Errors as {@link decryptSessionData} names them. The plaintext is a view
 * of what was decrypted, its padding behind it: copy it before giving it away.
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
      'session_data.mac: expected the MAC of the shared secret, got another: encrypted to another key, or damaged',
    );
  }
  const flags: SessionDataFlag[] = parsed.mac.length === MAC_LENGTH ? [] : ['mac-length'];
  const length = unpaddedLength(padded);
  if (length !== undefined) return { plaintext: padded.subarray(0, length), flags };
  // What the oldest peer does: it cuts off as many bytes as the last one says and looks at no other.
  const cut = padded[padded.length - 1];
  if (!parsed.salvage || cut > padded.length) {
    throw new KeyBackupError(
      'bad-padding',
      'session_data.ciphertext: expected PKCS#7 padding, got another filler',
    );
  }
  flags.push('padding');
  return { plaintext: padded.subarray(0, padded.length - cut), flags };
}

/** How long the plaintext in padded blocks is, or `undefined` when the padding is not PKCS#7. */
export function unpaddedLength(padded: Uint8Array): number | undefined {
  const filler = padded[padded.length - 1];
  if (filler < 1 || filler > Math.min(BLOCK, padded.length)) return undefined;
  const length = padded.length - filler;
  for (let i = length; i < padded.length; i++) if (padded[i] !== filler) return undefined;
  return length;
}

/** An all-zero secret means a point of small order: everybody knows it, so it protects nothing. */
function expectSecret(sharedSecret: Uint8Array, field: string): void {
  if (isZero(sharedSecret)) {
    throw new KeyBackupError(
      'low-order-key',
      `${field}: expected a point of large order, got one of small order`,
    );
  }
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

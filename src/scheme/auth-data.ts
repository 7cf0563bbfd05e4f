import {
  expectArray,
  expectInstance,
  expectMethod,
  expectOptions,
  expectText,
} from '../encoding/arguments.js';
import { base64Decode, base64DecodeOr, base64Encode } from '../encoding/base64.js';
import { signedBytes } from '../encoding/canonical-json.js';
import { DISPOSE, SecretBytes, copyBytes, expectAnyBytes, expectBytes } from '../encoding/bytes.js';
import { KeyBackupError, describe } from '../errors.js';
import { isSignedBy, publicSigningKeyOf, sign } from '../curve25519/ed25519.js';
import { isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import {
  BackupPublicKey,
  comparableKey,
  compareKey,
  type BackupDecryptionKey,
  type PublicKeyFlag,
} from './keys.js';
import { excerpt } from '../encoding/quote.js';

/**
 * The `auth_data` of a backup version: its public key, and who signed it.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @see https://spec.matrix.org/v1.19/appendices/#signing-json
 */

/** The `algorithm` of a backup version. */
export const BACKUP_ALGORITHM = 'm.megolm_backup.v1.curve25519-aes-sha2';

/** An account has a handful of cross-signing keys. A server could name a million, at a millisecond each. */
const MAX_UNKNOWN_KEYS = 64;

/** An `auth_data`. Unknown fields are kept and signed. */
export interface AuthData {
  /** Unpadded base64 of 32 bytes. */
  readonly public_key: string;
  /** By user id, then by key id (`ed25519:` and a device id or a public key). */
  readonly signatures?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly [unknown: string]: unknown;
}

/** A signing key that may be elsewhere: in an `OlmMachine` or in a native module. */
export interface AsyncSigner {
  readonly userId: string;
  /** `ed25519:DEVICEID`, or `ed25519:` and the unpadded base64 of a master key. */
  readonly keyId: string;
  /** Signs the bytes; 64 bytes. */
  readonly sign: (message: Uint8Array) => Uint8Array | Promise<Uint8Array>;
}

/** A signing key in memory: a device's, or the user's cross-signing master key. */
export interface Signer extends AsyncSigner {
  readonly sign: (message: Uint8Array) => Uint8Array;
  /** Overwrites the private key if it is in memory. */
  readonly dispose: () => void;
  /** The same, for `using`. */
  readonly [DISPOSE]: () => void;
}

/** A public Ed25519 key and the id of its signatures. */
export interface SigningKey {
  readonly keyId: string;
  /** Base64 of 32 bytes, padded or not. */
  readonly publicKey: string;
}

/**
 * A signer with an Ed25519 key in memory.
 *
 * @param userId - Whose key it is: `@alice:example.org`.
 * @param seed - 32 bytes; copied. The caller wipes its own.
 * @param deviceId - The device of the key; without one it is a cross-signing master key, whose id is its public key.
 * @returns The signer, which the caller disposes of; after that it throws `bad-parameters`.
 * @throws {@link KeyBackupError} `bad-length`.
 */
export function ed25519Signer(userId: string, seed: Uint8Array, deviceId?: string): Signer {
  expectText(userId, 'userId');
  if (deviceId !== undefined) expectText(deviceId, 'deviceId');
  const secret = new SecretBytes(copyBytes(expectBytes(seed, 32, 'seed')), 'signing key');
  const id = deviceId ?? base64Encode(publicSigningKeyOf(secret.value));
  const dispose = () => {
    secret.dispose();
  };
  return {
    userId,
    keyId: `ed25519:${id}`,
    sign(message) {
      expectAnyBytes(message, 'message');
      return sign(secret.value, message);
    },
    dispose,
    [DISPOSE]: dispose,
  };
}

/**
 * The `auth_data` of a new backup, without signatures.
 *
 * @param extra - More fields, to be signed.
 * @returns A new object; its `public_key` is 43 characters of unpadded base64.
 */
export function createAuthData(publicKey: BackupPublicKey, extra: JsonObject = {}): AuthData {
  expectOptions(extra, 'extra');
  return { ...extra, public_key: expectInstance(publicKey, BackupPublicKey, 'public key').toBase64() };
}

/**
 * The bytes of an `auth_data` that are signed: its canonical JSON without the top-level `signatures` and `unsigned`.
 *
 * @see https://spec.matrix.org/v1.19/appendices/#signing-json
 * @throws {@link KeyBackupError} `bad-auth-data`, `bad-canonical-json`.
 */
export function authDataBytes(authData: unknown): Uint8Array {
  return signedBytes(expectAuthData(authData));
}

/**
 * Adds a signature that was made elsewhere over {@link authDataBytes}; it is not verified. Existing signatures and
 * unknown fields stay.
 *
 * @param keyId - `ed25519:DEVICEID`, or `ed25519:` and the unpadded base64 of a master key.
 * @param signature - Base64 of 64 bytes, padded or not.
 * @returns A new object.
 * @throws {@link KeyBackupError} `bad-auth-data`, `bad-parameters` for a key id without `ed25519:`, `bad-base64`,
 * `bad-length`.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, addSignature, authDataBytes, createAuthData, ed25519Signer } from 'megolm-backup';
 * import { base64Encode } from 'megolm-backup/engine';
 *
 * const authData = createAuthData(BackupDecryptionKey.generate().publicKey);
 * const { userId, keyId, sign } = ed25519Signer('@a:example.org', new Uint8Array(32).fill(7), 'DEVICE');
 * const signed = addSignature(authData, userId, keyId, base64Encode(sign(authDataBytes(authData))));
 * console.log(Object.keys(signed.signatures ?? {}).join()); // @a:example.org
 * ```
 */
export function addSignature(authData: unknown, userId: string, keyId: string, signature: string): AuthData {
  expectText(userId, 'userId');
  expectEd25519(expectText(keyId, 'keyId'));
  const bytes = base64Decode(expectText(signature, 'signature'), 'signature');
  return withSignature(expectAuthData(authData), userId, keyId, bytes);
}

/**
 * Signs with keys in memory, and adds the signatures; existing ones and unknown fields stay. `createBackup` and
 * `signBackup` also take keys that sign asynchronously.
 *
 * Sign with the device key AND the master key if you can: the signature of a device dies with it.
 *
 * @param authData - Signed are its {@link authDataBytes}.
 * @returns A new object.
 * @throws {@link KeyBackupError} `bad-auth-data`, `bad-canonical-json`, `bad-parameters` for a key id without
 * `ed25519:`, `bad-length` for a signer whose signature is not 64 bytes.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, createAuthData, ed25519Signer, signAuthData, verifyAuthData } from 'megolm-backup';
 *
 * const key = BackupDecryptionKey.generate();
 * const device = ed25519Signer('@a:example.org', new Uint8Array(32).fill(7), 'DEVICE');
 * const authData = signAuthData(createAuthData(key.publicKey), [device]);
 * console.log(verifyAuthData(authData, { userId: '@a:example.org', decryptionKey: key }).by); // decryption-key
 * ```
 */
export function signAuthData(
  authData: unknown,
  signers: readonly Pick<Signer, 'userId' | 'keyId' | 'sign'>[],
): AuthData {
  const message = authDataBytes(authData);
  expectArray(signers, 'signers');
  const unsigned = authData as JsonObject;
  let signed = { ...unsigned, signatures: objectAt(unsigned, 'signatures') } as unknown as AuthData;
  for (const signer of signers) {
    expectOptions(signer, 'signer');
    const { userId, keyId } = signer;
    expectEd25519(expectText(keyId, 'keyId'));
    signed = withSignature(signed, userId, keyId, signer.sign(message));
  }
  return signed;
}

function withSignature(authData: JsonObject, userId: string, keyId: string, signature: Uint8Array): AuthData {
  const signatures = objectAt(authData, 'signatures');
  const ofUser = new Map(Object.entries(objectAt(signatures, userId)));
  ofUser.set(keyId, base64Encode(expectBytes(signature, 64, 'signature')));
  const all = new Map(Object.entries(signatures)).set(userId, Object.fromEntries(ofUser));
  return { ...authData, signatures: Object.fromEntries(all) } as unknown as AuthData;
}

function expectAuthData(authData: unknown): JsonObject {
  if (isJsonObject(authData)) return authData;
  throw new KeyBackupError('bad-auth-data', `auth_data: expected an object, got ${describe(authData)}`);
}

function expectEd25519(keyId: string): void {
  if (keyId.startsWith('ed25519:')) return;
  throw new KeyBackupError('bad-parameters', 'keyId: expected "ed25519:" and an id, got another algorithm');
}

/** State of one signature. */
export type SignatureState = 'missing' | 'invalid' | 'valid-untrusted' | 'valid-trusted';

/** One signature, or a missing one of a trusted key. */
export interface SignatureVerdict {
  readonly userId: string;
  readonly keyId: string;
  readonly state: SignatureState;
  /** Why, for people. */
  readonly reason: string;
}

/** What is known about an `auth_data` and whether to encrypt to it. */
export interface AuthDataVerdict {
  readonly trusted: boolean;
  /** The reason of the trust: the decryption key, a trusted signature, or nothing. */
  readonly by: 'decryption-key' | 'signature' | null;
  /** Why, for people. */
  readonly reason: string;
  /** `undefined` without a usable public key; the backup is not trusted then. */
  readonly publicKey: BackupPublicKey | undefined;
  /** Whether the given decryption key is this backup's; `undefined` without one, or nothing to compare it with. */
  readonly keyMatches: boolean | undefined;
  /** `double-base64-public-key`: readable, but nothing can be encrypted to it. */
  readonly flags: readonly PublicKeyFlag[];
  readonly signatures: readonly SignatureVerdict[];
}

/** Whom to believe. */
export interface VerifyOptions {
  /** The owner of the backup: only this user's signatures count. */
  readonly userId: string;
  /** Keys whose signatures make the backup trusted: verified devices and the user's own master key. */
  readonly trustedKeys?: readonly SigningKey[];
  /** Keys whose signatures are checked but not trusted. */
  readonly knownKeys?: readonly SigningKey[];
  /** The backup decryption key, if it is known. */
  readonly decryptionKey?: BackupDecryptionKey | undefined;
}

/**
 * Checks whether a backup is the user's own, by the decryption key or by a signature.
 *
 * A signature by an unknown key is `missing`, unless its id is a public key; at most 64 of those are checked. Ed25519 is
 * verified strictly (RFC 8032); a key of small order is invalid. A key id that is a public key, as that of a master key
 * is, must be the key that signs.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param authData - From the server, unchecked.
 * @returns The verdict, whatever the `auth_data` is.
 * @throws {@link KeyBackupError} `bad-parameters` for malformed keys in the options.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, createAuthData, ed25519Signer, signAuthData, verifyAuthData } from 'megolm-backup';
 *
 * const userId = '@alice:example.org';
 * const master = ed25519Signer(userId, new Uint8Array(32).fill(7));
 * const authData = signAuthData(createAuthData(BackupDecryptionKey.generate().publicKey), [master]);
 *
 * const { keyId } = master;
 * const trustedKeys = [{ keyId, publicKey: keyId.slice('ed25519:'.length) }];
 * console.log(verifyAuthData(authData, { userId, trustedKeys }).trusted); // true
 * console.log(verifyAuthData({ ...authData, extra: 1 }, { userId, trustedKeys }).signatures[0].state); // invalid
 * ```
 */
export function verifyAuthData(authData: unknown, options: VerifyOptions): AuthDataVerdict {
  expectOptions(options);
  expectText(options.userId, 'userId');
  const keys = signingKeys(options);
  const { publicKey, problem } = readPublicKey(authData);
  const object = isJsonObject(authData) ? authData : {};
  const signatures = verifySignatures(object, options.userId, keys);
  const { decryptionKey } = options;
  if (decryptionKey !== undefined) expectMethod(decryptionKey, 'matches', 'decryptionKey');
  const keyMatches = decryptionKey && compareKey(decryptionKey, object);
  const base = { publicKey, keyMatches, signatures, flags: comparableKey(object)?.flags ?? [] };
  if (!publicKey) return { trusted: false, by: null, reason: problem, ...base };
  if (keyMatches) {
    return { trusted: true, by: 'decryption-key', reason: 'the decryption key is this backup’s', ...base };
  }
  const signature = signatures.find(({ state }) => state === 'valid-trusted');
  if (signature) {
    return {
      trusted: true,
      by: 'signature',
      reason: `signed by the trusted key ${excerpt(signature.keyId)}`,
      ...base,
    };
  }
  const reason = keyMatches === false ? 'the decryption key is another backup’s, and no' : 'no';
  return { trusted: false, by: null, reason: `${reason} trusted key has signed this backup`, ...base };
}

function readPublicKey(authData: unknown): { publicKey: BackupPublicKey | undefined; problem: string } {
  try {
    return { publicKey: BackupPublicKey.fromAuthData(authData), problem: '' };
  } catch (error) {
    return { publicKey: undefined, problem: (error as KeyBackupError).message };
  }
}

interface KnownKey {
  readonly publicKey: Uint8Array;
  readonly trusted: boolean;
}

function signingKeys({ trustedKeys = [], knownKeys = [] }: VerifyOptions): Map<string, KnownKey> {
  const keys = new Map<string, KnownKey>();
  const all = [
    ...knownKeys.map((key) => ({ ...key, trusted: false })),
    ...trustedKeys.map((key) => ({ ...key, trusted: true })),
  ];
  for (const { keyId, publicKey, trusted } of all) {
    expectEd25519(keyId);
    const bytes = base64DecodeOr(publicKey, 32);
    if (!bytes)
      throw new KeyBackupError(
        'bad-parameters',
        `${excerpt(keyId)}: expected base64 of 32 bytes, got something else`,
      );
    keys.set(keyId, { publicKey: bytes, trusted });
  }
  return keys;
}

function verifySignatures(
  object: JsonObject,
  userId: string,
  keys: Map<string, KnownKey>,
): SignatureVerdict[] {
  const present = objectAt(objectAt(object, 'signatures'), userId);
  const message = signable(object);
  let unknown = 0;
  const verdicts = Object.keys(present).map((keyId): SignatureVerdict => {
    const known = keys.get(keyId);
    if (!known && namedKey(keyId) && ++unknown > MAX_UNKNOWN_KEYS) {
      return { userId, keyId, state: 'missing', reason: 'not checked: too many unknown keys' };
    }
    return { userId, keyId, ...verifySignature(keyId, present[keyId], message, known) };
  });
  for (const [keyId, { trusted }] of keys) {
    if (trusted && !Object.hasOwn(present, keyId)) {
      verdicts.push({ userId, keyId, state: 'missing', reason: 'this trusted key has not signed' });
    }
  }
  return verdicts;
}

function verifySignature(
  keyId: string,
  signature: unknown,
  message: Uint8Array | undefined,
  known: KnownKey | undefined,
): { state: SignatureState; reason: string } {
  const invalid = (reason: string) => ({ state: 'invalid' as const, reason });
  if (!keyId.startsWith('ed25519:')) return invalid('the key id names another algorithm than ed25519');
  const named = namedKey(keyId);
  if (named && known && base64Encode(named) !== base64Encode(known.publicKey)) {
    return invalid('the key id is a public key, and not the one given for it');
  }
  const publicKey = known?.publicKey ?? named;
  if (!publicKey) return { state: 'missing', reason: 'the public key of this id is not known' };
  const bytes = base64DecodeOr(signature, 64);
  if (!bytes) return invalid('the signature is not base64 of 64 bytes');
  if (!message) return invalid('the signed part is not canonical JSON');
  if (!isSignedBy(publicKey, message, bytes))
    return invalid('the signature is not by this key over this data');
  return known?.trusted
    ? { state: 'valid-trusted', reason: 'signed by a trusted key' }
    : { state: 'valid-untrusted', reason: 'signed by a key that is not trusted' };
}

/** The public key in the id of a cross-signing key, which is base64 of 32 bytes. */
function namedKey(keyId: string): Uint8Array | undefined {
  return base64DecodeOr(keyId.slice('ed25519:'.length), 32);
}

function signable(object: JsonObject): Uint8Array | undefined {
  try {
    return signedBytes(object);
  } catch {
    return undefined;
  }
}

function objectAt(object: JsonObject, name: string): JsonObject {
  const value = ownValue(object, name);
  return isJsonObject(value) ? value : {};
}

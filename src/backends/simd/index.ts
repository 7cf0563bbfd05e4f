/**
 * X25519, HKDF and AES by WebAssembly with relaxed SIMD.
 *
 * @packageDocumentation
 */

import { callback } from '../../async.js';
import {
  decryptMany,
  encryptMany,
  pureBackend,
  tryRecord,
  type Backend,
  type CompleteBackend,
} from '../../batch/backend.js';
import { ladderMany } from '../../curve25519/montgomery-ladder.js';
import {
  BASE_POINT,
  baseTable,
  generatePrivateKeys,
  hasTable,
  tableOf,
  type Encapsulated,
} from '../../curve25519/x25519.js';
import { expectOptions } from '../../encoding/arguments.js';
import { concatAll, equal, wipe } from '../../encoding/bytes.js';
import { KeyBackupError } from '../../errors.js';
import {
  open,
  openSessionData,
  seal,
  sealSessionData,
  type ParsedSessionData,
  type Sealed,
} from '../../scheme/session-data.js';
import type { Simd } from './self-test.js';

/** How to make a backend with SIMD. */
export interface SimdOptions {
  /** Does everything else: small batches, other operations, and all where SIMD is missing. Default: pure JavaScript. */
  readonly otherwise?: Backend | undefined;
  /**
   * Is told, once, that a result differed from pure JavaScript's, which a fault of the processor or the runtime can cause.
   * The wrong result was not used, and SIMD is not used again in this process. What it throws ends the batch as
   * `backend-failed`.
   */
  readonly onMismatch?: ((error: KeyBackupError) => void) | undefined;
}

/** A backend with SIMD. */
export interface SimdBackend extends Backend {
  readonly encapsulateMany: CompleteBackend['encapsulateMany'];
  readonly agreeMany: CompleteBackend['agreeMany'];
  readonly encryptMany: NonNullable<Backend['encryptMany']>;
  readonly decryptMany: NonNullable<Backend['decryptMany']>;
}

/** From this many agreements on, the gain is more than the check of one of them. */
const MANY = 16;

/** From this many agreements with one recipient on, ladders take longer than building a table. */
const TABLE_FROM = 64;

/** After this many agreements and sealings of the process, making the module takes less time than it saves. */
const MAKE_FROM = 512;

let made: Promise<Simd | undefined> | undefined;
let asked = 0;
/** Set when a result was wrong. */
let isOff = false;

/**
 * Whether this runtime has WebAssembly with relaxed SIMD, may compile it, rounds a fused multiplication and addition
 * once, and then gives the same results as pure JavaScript. Tested once, by using it.
 */
export async function hasSimd(): Promise<boolean> {
  return (await ready()) !== undefined;
}

/**
 * X25519, HKDF and AES by WebAssembly with relaxed SIMD: two agreements at a time, faster than OpenSSL and WebCrypto, four
 * derivations and two messages. The module is made in memory, once some hundreds of keys have come or {@link hasSimd} was
 * asked. A page needs 'wasm-unsafe-eval' in its Content-Security-Policy.
 *
 * Where the runtime has no relaxed SIMD, or may not compile it, or gives other results than pure JavaScript, `otherwise`
 * does everything. One session of every chunk is compared with pure JavaScript, because a wrong result on encryption would
 * make a backup that cannot be read. A wrong agreement on decryption fails as `mac-mismatch`.
 *
 * The module branches on no secret and no address in it depends on one. It is not audited, see SECURITY.md.
 *
 * @returns A frozen object. Its state is shared by all of the process.
 * @throws {@link KeyBackupError} `bad-parameters` for options that are not an object.
 *
 * @example
 * ```ts
 * import { encryptSessions, type BackupPublicKey, type ExportedSessionData } from 'megolm-backup';
 * import { simdBackend } from 'megolm-backup/simd';
 *
 * async function backUp(sessions: ExportedSessionData[], publicKey: BackupPublicKey) {
 *   const backend = simdBackend({ onMismatch: (error) => console.error(error.message) });
 *   for await (const result of encryptSessions(sessions, publicKey, { backend })) console.log(result.ok);
 * }
 * ```
 */
export function simdBackend(options: SimdOptions = {}): SimdBackend {
  expectOptions(options);
  const { otherwise = pureBackend, onMismatch } = options;
  const other: CompleteBackend = { ...pureBackend, ...otherwise };

  /** Whether a result is right; if not, SIMD is never used again. */
  function confirm(what: string, isRight: boolean): boolean {
    if (isRight) return true;
    isOff = true;
    const error = new KeyBackupError('backend-failed', `SIMD: ${what}: expected the same as in JavaScript`);
    callback(() => onMismatch?.(error));
    return false;
  }

  async function encapsulateMany(
    recipient: Uint8Array,
    ephemeralPrivateKeys: Uint8Array,
  ): Promise<Encapsulated> {
    const simd = await readyFor(ephemeralPrivateKeys);
    if (!simd) return other.encapsulateMany(recipient, ephemeralPrivateKeys);
    const made = encapsulate(simd, recipient, ephemeralPrivateKeys);
    const slot = anyOf(ephemeralPrivateKeys);
    const [key, publicKey, secret] = [ephemeralPrivateKeys, made.ephemeralPublicKeys, made.sharedSecrets].map(
      (keys) => keyAt(keys, slot),
    );
    if (confirm('X25519', isAgreement(key, BASE_POINT, publicKey) && isAgreement(key, recipient, secret)))
      return made;
    wipe(made.sharedSecrets);
    return pureBackend.encapsulateMany(recipient, ephemeralPrivateKeys);
  }

  async function agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array): Promise<Uint8Array> {
    const simd = await readyFor(publicKeys);
    return simd
      ? simd.agreements.ladderMany(privateKey, publicKeys)
      : other.agreeMany(privateKey, publicKeys);
  }

  /** Undefined where SIMD is not used. */
  async function sealMany(
    sharedSecrets: Uint8Array,
    plaintexts: readonly Uint8Array[],
  ): Promise<readonly Sealed[] | undefined> {
    const simd = await readyFor(sharedSecrets);
    if (!simd) return undefined;
    const sealed = simd.sealing.sealMany(sharedSecrets, plaintexts);
    const slot = anyOf(sharedSecrets);
    const isRight = isSealed(sealed[slot], keyAt(sharedSecrets, slot), plaintexts[slot]);
    return confirm('HKDF and AES', isRight) ? sealed : undefined;
  }

  /** Undefined where SIMD is not used; otherwise with undefined where the MAC does not match. */
  async function openMany(
    sharedSecrets: Uint8Array,
    parsed: readonly ParsedSessionData[],
  ): Promise<readonly (Uint8Array | undefined)[] | undefined> {
    const simd = await readyFor(sharedSecrets);
    if (!simd) return undefined;
    const opened = simd.sealing.openMany(sharedSecrets, parsed);
    const slot = anyOf(sharedSecrets);
    const isRight = isOpened(opened[slot], keyAt(sharedSecrets, slot), parsed[slot]);
    return confirm('HKDF and AES', isRight) ? opened : undefined;
  }

  return Object.freeze({
    ...otherwise,
    name: `SIMD or ${otherwise.name}`,
    pipeline: undefined,
    encapsulateMany,
    agreeMany,
    async encryptMany(recipient, plaintexts, settings) {
      if (plaintexts.length < MANY) return encryptMany(other, recipient, plaintexts, settings);
      const privateKeys = generatePrivateKeys(plaintexts.length);
      let sharedSecrets: Uint8Array = privateKeys;
      try {
        const { ephemeralPublicKeys, ...made } = await encapsulateMany(recipient, privateKeys);
        sharedSecrets = made.sharedSecrets;
        const sealed = await sealMany(sharedSecrets, plaintexts);
        return plaintexts.map((plaintext, slot) =>
          sealSessionData(
            plaintext,
            keyAt(ephemeralPublicKeys, slot),
            keyAt(sharedSecrets, slot),
            sealed ? () => sealed[slot] : other.seal,
          ),
        );
      } finally {
        wipe(privateKeys, sharedSecrets);
      }
    },
    async decryptMany(privateKey, parsed, settings) {
      if (parsed.length < MANY) return decryptMany(other, privateKey, parsed, settings);
      const sharedSecrets = await agreeMany(privateKey, concatAll(parsed.map(({ ephemeral }) => ephemeral)));
      try {
        const opened = await openMany(sharedSecrets, parsed);
        return parsed.map((one, slot) =>
          tryRecord(() =>
            openSessionData(one, keyAt(sharedSecrets, slot), opened ? () => opened[slot] : other.open),
          ),
        );
      } finally {
        wipe(sharedSecrets);
      }
    },
  } satisfies SimdBackend);
}

async function ready(): Promise<Simd | undefined> {
  return isOff ? undefined : (made ??= make());
}

/** SIMD, where it may be used and the keys are many enough. */
async function readyFor(keys: Uint8Array): Promise<Simd | undefined> {
  const count = keys.length / 32;
  asked += count;
  return count >= MANY && (made || asked >= MAKE_FROM) ? ready() : undefined;
}

/** Loads what is in files of its own, so that a program that has little to do loads nothing. */
async function make(): Promise<Simd | undefined> {
  try {
    const { testedSimd } = await import('./self-test.js');
    return await testedSimd();
  } catch {
    // Also where a bundler left the file out.
    return undefined;
  }
}

function encapsulate(
  { agreements }: Simd,
  recipient: Uint8Array,
  ephemeralPrivateKeys: Uint8Array,
): Encapsulated {
  const isWorthATable = hasTable(recipient) || ephemeralPrivateKeys.length >= 32 * TABLE_FROM;
  const table = isWorthATable ? tableOf(recipient) : null;
  const [ephemeralPublicKeys, sharedSecrets] = table
    ? agreements.tableProducts([baseTable(), table], ephemeralPrivateKeys)
    : [BASE_POINT, recipient].map((point) => agreements.ladderMany(ephemeralPrivateKeys, point));
  return { ephemeralPublicKeys, sharedSecrets };
}

function isAgreement(privateKey: Uint8Array, publicKey: Uint8Array, result: Uint8Array): boolean {
  const expected = ladderMany(privateKey, publicKey);
  const isSame = equal(expected, result);
  wipe(expected);
  return isSame;
}

/** Whether pure JavaScript seals to the same. */
function isSealed(sealed: Sealed, sharedSecret: Uint8Array, plaintext: Uint8Array): boolean {
  const { ciphertext, mac } = seal(sharedSecret, plaintext);
  return equal(sealed.ciphertext, ciphertext) && equal(sealed.mac, mac);
}

/** Whether pure JavaScript opens to the same. */
function isOpened(
  opened: Uint8Array | undefined,
  sharedSecret: Uint8Array,
  { ciphertext, mac }: ParsedSessionData,
): boolean {
  const expected = open(sharedSecret, ciphertext, mac);
  return opened && expected ? equal(opened, expected) : opened === expected;
}

function keyAt(keys: Uint8Array, slot: number): Uint8Array {
  return keys.subarray(32 * slot, 32 * (slot + 1));
}

/** A random slot. */
function anyOf(keys: Uint8Array): number {
  return Math.floor((Math.random() * keys.length) / 32);
}

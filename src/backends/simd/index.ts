/**
 * X25519 by WebAssembly with relaxed SIMD.
 *
 * @packageDocumentation
 */

import { callback } from '../../async.js';
import { pureBackend, type Backend, type CompleteBackend } from '../../batch/backend.js';
import { ladderMany } from '../../curve25519/montgomery-ladder.js';
import { BASE_POINT, baseTable, hasTable, tableOf, type Encapsulated } from '../../curve25519/x25519.js';
import { expectOptions } from '../../encoding/arguments.js';
import { equal, wipe } from '../../encoding/bytes.js';
import { KeyBackupError } from '../../errors.js';
import type { Agreements } from './agreements.js';

/** How to make a backend with SIMD. */
export interface SimdOptions {
  /** Does everything else: small batches, other operations, and all where SIMD is missing. Default: pure JavaScript. */
  readonly otherwise?: Backend | undefined;
  /**
   * Is told, once, that a result differed from pure JavaScript's, which a fault of the processor or the runtime can cause.
   * The wrong result was not used, and SIMD is not used again in this process.
   */
  readonly onMismatch?: ((error: KeyBackupError) => void) | undefined;
}

/** From this many agreements on, the gain is more than the check of one of them. */
const MANY = 16;

/** From this many agreements with one recipient on, ladders take longer than building a table. */
const TABLE_FROM = 64;

let made: Promise<Agreements | undefined> | undefined;
/** Set when a result was wrong. */
let isOff = false;

/**
 * Whether this runtime has WebAssembly with relaxed SIMD, may compile it, rounds a fused multiplication and addition
 * once, and then makes the same agreements as pure JavaScript. Tested once, by using it.
 */
export async function hasSimd(): Promise<boolean> {
  return (await agreements()) !== undefined;
}

/**
 * X25519 by WebAssembly with relaxed SIMD: two agreements at a time, faster than OpenSSL and WebCrypto. The module is
 * made in memory at the first operation. A page needs 'wasm-unsafe-eval' in its Content-Security-Policy.
 *
 * Where the runtime has no relaxed SIMD, or may not compile it, or gives other results than pure JavaScript, `otherwise`
 * does everything. One agreement of every chunk that is encrypted is compared with pure JavaScript: nobody could read a
 * backup with wrong ones. A wrong one on decryption fails as `mac-mismatch`.
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
export function simdBackend(
  options: SimdOptions = {},
): Backend & Pick<CompleteBackend, 'encapsulateMany' | 'agreeMany'> {
  expectOptions(options);
  const { otherwise = pureBackend, onMismatch } = options;
  const other: Pick<CompleteBackend, 'encapsulateMany' | 'agreeMany'> = { ...pureBackend, ...otherwise };
  return Object.freeze({
    ...otherwise,
    name: `SIMD or ${otherwise.name}`,
    pipeline: undefined,
    async encapsulateMany(recipient: Uint8Array, ephemeralPrivateKeys: Uint8Array): Promise<Encapsulated> {
      const count = ephemeralPrivateKeys.length / 32;
      const simd = count < MANY ? undefined : await agreements();
      if (!simd) return other.encapsulateMany(recipient, ephemeralPrivateKeys);
      const encapsulated = encapsulate(simd, recipient, ephemeralPrivateKeys);
      const one = 32 * Math.floor(Math.random() * count);
      if (isRight(recipient, ephemeralPrivateKeys, encapsulated, one)) return encapsulated;
      wipe(encapsulated.sharedSecrets);
      isOff = true;
      const error = new KeyBackupError(
        'backend-failed',
        'SIMD: expected the result of the ladder, got another',
      );
      callback(() => onMismatch?.(error));
      return pureBackend.encapsulateMany(recipient, ephemeralPrivateKeys);
    },
    async agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array): Promise<Uint8Array> {
      const simd = publicKeys.length < 32 * MANY ? undefined : await agreements();
      return simd ? simd.ladderMany(privateKey, publicKeys) : other.agreeMany(privateKey, publicKeys);
    },
  });
}

async function agreements(): Promise<Agreements | undefined> {
  if (isOff) return undefined;
  return (made ??= make());
}

/** Loads what is in files of its own, so that a program that has little to do loads nothing. */
async function make(): Promise<Agreements | undefined> {
  try {
    const { testedAgreements } = await import('./self-test.js');
    return await testedAgreements();
  } catch {
    // Also where a bundler left the file out.
    return undefined;
  }
}

function encapsulate(
  simd: Agreements,
  recipient: Uint8Array,
  ephemeralPrivateKeys: Uint8Array,
): Encapsulated {
  const isWorthATable = hasTable(recipient) || ephemeralPrivateKeys.length >= 32 * TABLE_FROM;
  const table = isWorthATable ? tableOf(recipient) : null;
  if (table) {
    const [ephemeralPublicKeys, sharedSecrets] = simd.tableProducts(
      [baseTable(), table],
      ephemeralPrivateKeys,
    );
    return { ephemeralPublicKeys, sharedSecrets };
  }
  return {
    ephemeralPublicKeys: simd.ladderMany(ephemeralPrivateKeys, BASE_POINT),
    sharedSecrets: simd.ladderMany(ephemeralPrivateKeys, recipient),
  };
}

/** Whether pure JavaScript makes the same of the key at an offset. */
function isRight(
  recipient: Uint8Array,
  ephemeralPrivateKeys: Uint8Array,
  { ephemeralPublicKeys, sharedSecrets }: Encapsulated,
  at: number,
): boolean {
  const key = ephemeralPrivateKeys.subarray(at, at + 32);
  const secret = ladderMany(key, recipient);
  try {
    return (
      equal(ladderMany(key, BASE_POINT), ephemeralPublicKeys.subarray(at, at + 32)) &&
      equal(secret, sharedSecrets.subarray(at, at + 32))
    );
  } finally {
    wipe(secret);
  }
}

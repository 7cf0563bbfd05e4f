import { copyBytes, equal } from '../encoding/bytes.js';
import { ed25519 } from './edwards.js';
import { checkedTable, tableProducts } from './fixed-base.js';
import { type RecipientTable, buildTable, recipientPoint } from './fixed-base-table.js';
import { ladderMany } from './montgomery-ladder.js';

/**
 * X25519 in pure JavaScript, by arithmetic of our own (this folder). It is tested against other implementations and at
 * its bounds, but NOT AUDITED. No branch and no address depends on a private key; a recipient is public and may show in
 * the time.
 *
 * Keys travel many to an array, 32 bytes each, private keys not clamped. Every u-coordinate gives the result of RFC 7748,
 * also one that is not canonical, on the twist or with a torsion part. A point of low order gives 32 zero bytes here;
 * callers must reject them (`low-order-key`).
 *
 * A backup encrypts every session to the same public key, so its multiples are computed once and an agreement is a sum
 * of table entries. The base point has a table too. Everything else is a ladder.
 */

/** One agreement per ephemeral key. */
export interface Encapsulated {
  /** The ephemeral public keys X25519(e, 9), 32 bytes each. */
  readonly ephemeralPublicKeys: Uint8Array;
  /** The shared secrets X25519(e, recipient), 32 bytes each; all zero for a recipient of low order. */
  readonly sharedSecrets: Uint8Array;
}

/** Bits of a window. */
export const WIDTH = 5;

/** Recipients whose tables are kept, 80 KiB each. */
const KEPT = 8;

/** Agreements from which a table pays: building one takes as long as 22 ladders and then saves most of a ladder each time. */
const TABLE_FROM = 24;

/** u = 9. */
export const BASE_POINT: Uint8Array = Uint8Array.of(9, ...new Uint8Array(31));

/** By public key, the least recently used first; null where there is no table, see {@link recipientPoint}. */
let recipients: Map<string, RecipientTable | null> | undefined;
let base: RecipientTable | undefined;
/** Public keys computed before the base point had a table. */
let publicKeys = 0;

let lastRecipient: Uint8Array | undefined;
/** Agreements with the last recipient. */
let agreements = 0;

interface SecureGenerator {
  getRandomValues?(array: Uint8Array): unknown;
}

/** `count` private keys from the platform's secure generator, 32 bytes each. */
export function generatePrivateKeys(count: number): Uint8Array {
  const { crypto } = globalThis as { crypto?: SecureGenerator };
  if (typeof crypto?.getRandomValues !== 'function')
    throw new Error('crypto.getRandomValues must be defined');
  const keys = new Uint8Array(32 * count);
  // In place, so that no copy is left behind; at most 64 KiB a call.
  for (let i = 0; i < keys.length; i += 65536) crypto.getRandomValues(keys.subarray(i, i + 65536));
  return keys;
}

/** X25519(private key, 9) for each private key, 32 bytes each. */
export function publicKeyOf(privateKeys: Uint8Array): Uint8Array {
  if (!base) publicKeys += privateKeys.length / 32;
  if (!base && publicKeys < TABLE_FROM) return ladderMany(privateKeys, BASE_POINT);
  return tableProducts([baseTable()], privateKeys)[0];
}

/**
 * One agreement for each ephemeral private key with one recipient.
 *
 * @returns New arrays.
 * @throws {@link KeyBackupError} `backend-failed` when a new table disagrees with the ladder.
 */
export function encapsulateMany(recipient: Uint8Array, ephemeralPrivateKeys: Uint8Array): Encapsulated {
  const table = isWorthATable(recipient, ephemeralPrivateKeys.length / 32) ? tableOf(recipient) : null;
  if (table) {
    const [ephemeralPublicKeys, sharedSecrets] = tableProducts([baseTable(), table], ephemeralPrivateKeys);
    return { ephemeralPublicKeys, sharedSecrets };
  }
  return {
    ephemeralPublicKeys: publicKeyOf(ephemeralPrivateKeys),
    sharedSecrets: ladderMany(ephemeralPrivateKeys, recipient),
  };
}

/** One private key's agreement with each public key. */
export function agreeMany(privateKey: Uint8Array, publicKeys: Uint8Array): Uint8Array {
  return ladderMany(privateKey, publicKeys);
}

/** Whether the recipient has a table, so that also a single agreement uses it. */
export function hasTable(recipient: Uint8Array): boolean {
  return recipients?.has(nameOf(recipient)) ?? false;
}

/** Counts agreements that are about to be made, and tells whether building a table for them pays. */
export function isWorthATable(recipient: Uint8Array, count: number): boolean {
  if (hasTable(recipient)) return true;
  if (lastRecipient === undefined || !equal(recipient, lastRecipient)) {
    lastRecipient = copyBytes(recipient);
    agreements = 0;
  }
  agreements += count;
  return agreements >= TABLE_FROM;
}

/** The table of the base point, built when first asked for. */
export function baseTable(): RecipientTable {
  return (base ??= checkedTable(buildTable(BASE_POINT, ed25519().Point.BASE.clearCofactor(), WIDTH)));
}

/** The table of a recipient, kept or built; null on the twist and for a point of low order. */
export function tableOf(recipient: Uint8Array): RecipientTable | null {
  recipients ??= new Map();
  const name = nameOf(recipient);
  let table = recipients.get(name);
  if (table === undefined) {
    const point = recipientPoint(recipient);
    table = point ? checkedTable(buildTable(recipient, point, WIDTH)) : null;
  }
  // A Map keeps the order of insertion.
  recipients.delete(name);
  recipients.set(name, table);
  for (const oldest of recipients.keys()) {
    if (recipients.size <= KEPT) break;
    recipients.delete(oldest);
  }
  return table;
}

function nameOf(publicKey: Uint8Array): string {
  return String.fromCharCode(...publicKey);
}

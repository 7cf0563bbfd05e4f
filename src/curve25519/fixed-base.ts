import { ed25519 } from './edwards.js';
import { ladderMany } from './montgomery-ladder.js';
import { type RecipientTable, buildTable, recipientPoint } from './recipient-table.js';
import { checkedTable, tableProducts } from './table-product.js';

/** What one agreement per ephemeral key gives. */
export interface Encapsulated {
  /** The ephemeral public keys X25519(e, 9), 32 bytes each. */
  readonly ephemeralPublicKeys: Uint8Array;
  /** The shared secrets X25519(e, recipient), 32 bytes each; all zero where the recipient is of low order. */
  readonly sharedSecrets: Uint8Array;
}

/**
 * Many agreements with one recipient, which is what a key backup is: every session is encrypted to the same
 * public key. Its multiples are computed once, and each agreement is then a sum of entries of that table.
 */

/** Bits of a window, for recipients and for the base point. */
const WIDTH = 5;

/** How many recipients' tables are kept: 80 KiB each. */
const KEPT = 8;

/** What is known of a recipient: its table, or why it has none. */
type Known = RecipientTable | 'twist' | 'low-order';

/**
 * A table is worth its building at the product with this number: building one costs what 22 ladders cost, and saves
 * nearly a whole ladder each time.
 */
export const TABLE_FROM = 24;

const BASE_POINT = Uint8Array.of(9, ...new Uint8Array(31));

let recipients: Map<string, Known> | undefined;
let base: RecipientTable | undefined;
/** How many public keys were asked for before there was a table of the base point. */
let publicKeys = 0;

/**
 * One agreement for each ephemeral private key with one recipient, exact for every u-coordinate: also one with a
 * torsion part, not canonical, or on the twist (by the ladder).
 *
 * No branch and no address depends on a private key. The recipient is public and may show in the time.
 *
 * @param recipient - The public key, 32 bytes. Its table is built if it is not kept from before.
 * @param ephemeralPrivateKeys - 32 bytes each, not clamped.
 * @returns New arrays; the shared secrets are all zero where the recipient is of low order.
 * @throws {@link KeyBackupError} `backend-failed` when a new table does not agree with the ladder.
 */
export function encapsulateWithTable(recipient: Uint8Array, ephemeralPrivateKeys: Uint8Array): Encapsulated {
  const known = recipientTable(recipient);
  if (typeof known === 'object') {
    const [ephemeralPublicKeys, sharedSecrets] = tableProducts([baseTable(), known], ephemeralPrivateKeys);
    return { ephemeralPublicKeys, sharedSecrets };
  }
  return {
    ephemeralPublicKeys: publicKeysOf(ephemeralPrivateKeys),
    sharedSecrets:
      known === 'twist'
        ? ladderMany(ephemeralPrivateKeys, recipient)
        : new Uint8Array(ephemeralPrivateKeys.length),
  };
}

/** X25519(e, 9) for each private key, 32 bytes each: by ladders until so many were asked for that a table pays. */
export function publicKeysOf(privateKeys: Uint8Array): Uint8Array {
  if (!base) publicKeys += privateKeys.length / 32;
  if (!base && publicKeys < TABLE_FROM) return ladderMany(privateKeys, BASE_POINT);
  return tableProducts([baseTable()], privateKeys)[0];
}

/** Whether a recipient's table is kept, so that also a single agreement takes it. */
export function hasTable(recipient: Uint8Array): boolean {
  return recipients?.has(nameOf(recipient)) ?? false;
}

/** Lets go of all tables: some 80 KiB for the base point and for each of the last 8 recipients. */
export function releaseTables(): void {
  recipients = undefined;
  base = undefined;
  publicKeys = 0;
}

function baseTable(): RecipientTable {
  return (base ??= checkedTable(buildTable(BASE_POINT, ed25519().Point.BASE.clearCofactor(), WIDTH)));
}

function recipientTable(recipient: Uint8Array): Known {
  recipients ??= new Map();
  const name = nameOf(recipient);
  let known = recipients.get(name);
  if (known === undefined) {
    const point = recipientPoint(recipient);
    known = typeof point === 'string' ? point : checkedTable(buildTable(recipient, point, WIDTH));
  }
  // A Map keeps the order of insertion: the one used longest ago comes first.
  recipients.delete(name);
  recipients.set(name, known);
  for (const oldest of recipients.keys()) {
    if (recipients.size <= KEPT) break;
    recipients.delete(oldest);
  }
  return known;
}

function nameOf(publicKey: Uint8Array): string {
  return String.fromCharCode(...publicKey);
}

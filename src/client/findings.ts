import { excerpt, quote } from '../encoding/quote.js';

/** What can be found. */
export type FindingCode =
  | 'no-backup'
  | 'backup-unwanted'
  | 'unknown-algorithm'
  | 'bad-public-key'
  | 'wrong-key'
  | 'untrusted'
  | 'invalid-signature'
  | 'count-differs'
  | 'damaged-keys'
  | 'wrong-mac'
  | 'partly-authenticated'
  | 'better-local-keys'
  | 'keys-not-backed-up';

/** One thing that is not as it should be, and what to do about it. */
export interface Finding {
  readonly code: FindingCode;
  /**
   * `error`: keys cannot be restored, or must not be uploaded; `warning`: some are concerned; `note`: nothing is
   * wrong, and it may be good to know.
   */
  readonly severity: 'error' | 'warning' | 'note';
  /** How many keys are concerned, where keys are. */
  readonly count: number | undefined;
  /** What is the matter, for people. */
  readonly message: string;
  /** What to do about it, for people. */
  readonly advice: string;
}

function finding(
  code: FindingCode,
  severity: Finding['severity'],
  message: string,
  advice: string,
  count?: number,
): Finding {
  return { code, severity, count, message, advice };
}

export function noBackup(): Finding {
  return finding(
    'no-backup',
    'error',
    'There is no backup on the server',
    'Make one, and upload the keys that are held locally',
  );
}

export function unwanted(): Finding {
  return finding(
    'backup-unwanted',
    'warning',
    'There is a backup, although the user has said (m.key_backup) that there should be none',
    'Delete the backup, or set the wish to what the user wants',
  );
}

export function unknownAlgorithm(algorithm: string): Finding {
  return finding(
    'unknown-algorithm',
    'error',
    `The backup has the algorithm ${quote(algorithm)}, which cannot be read here`,
    'Use the client that made it, or make a new backup',
  );
}

export function badPublicKey(reason: string): Finding {
  return finding(
    'bad-public-key',
    'error',
    `The backup has no usable public key: ${reason}`,
    'Nothing can be written to it any more: make a new backup and upload the keys that are held locally',
  );
}

export function wrongKey(): Finding {
  return finding(
    'wrong-key',
    'error',
    'The decryption key is the key of another backup',
    'Look for the key of this backup (an older key, or the one in secret storage); if it is lost, make a new backup',
  );
}

export function untrusted(reason: string): Finding {
  return finding(
    'untrusted',
    'error',
    `Nobody trusted vouches for the backup: ${reason}`,
    'Sign it with a verified device or the master key if it is your own; otherwise make a new backup',
  );
}

export function invalidSignature(keyId: string, reason: string): Finding {
  return finding(
    'invalid-signature',
    'warning',
    `The signature by ${excerpt(keyId)} does not hold: ${reason}`,
    'Sign the backup again with that key',
  );
}

export function countDiffers(expected: number, came: number): Finding {
  return finding(
    'count-differs',
    'warning',
    `The server counts ${expected} keys and gave ${came}`,
    'Ask again in case keys were just added; if it stays, the server has lost track of its keys',
    Math.abs(expected - came),
  );
}

export function damagedKeys(code: string, count: number): Finding {
  const [what, advice] = DAMAGE[code] ?? ['cannot be read', UPLOAD_AGAIN];
  return finding('damaged-keys', 'warning', `${count} keys ${what} (${code})`, advice, count);
}

export function wrongMac(count: number): Finding {
  return finding(
    'wrong-mac',
    'warning',
    `${count} keys carry a wrong backup_mac (wrong-mac): somebody without the key wrote or changed them`,
    'Do not believe who sent what only they decrypt: restore without them (requireAuthenticated), and write them ' +
      'anew from copies that came straight from their senders (authenticate)',
    count,
  );
}

export function partlyAuthenticated(without: number, verified: number): Finding {
  return finding(
    'partly-authenticated',
    'note',
    `${without} keys have no backup_mac (no-mac), beside ${verified} that are verified: a client that writes none ` +
      'may have added them, or anybody who knows the public key, or the server took their MACs away',
    'Write them anew from copies that came straight from their senders (authenticate), or restore without them ' +
      '(requireAuthenticated)',
    without,
  );
}

export function betterLocally(count: number): Finding {
  return finding(
    'better-local-keys',
    'warning',
    `${count} keys are held locally in a better form than in the backup`,
    UPLOAD_AGAIN,
    count,
  );
}

export function notBackedUp(count: number): Finding {
  return finding(
    'keys-not-backed-up',
    'warning',
    `${count} keys are held locally and not in the backup`,
    'Upload them',
    count,
  );
}

const UPLOAD_AGAIN = 'Upload them again from a device that has them; delete them from the backup first';

const DAMAGE: Readonly<Record<string, readonly [what: string, advice: string] | undefined>> = {
  'mac-mismatch': [
    'were encrypted to another public key, or not by a client at all',
    'They came from another backup of the same account: try its key, or upload them again',
  ],
  'bad-padding': [
    'were changed after their encryption, or encrypted wrongly',
    `${UPLOAD_AGAIN}; salvage may read some`,
  ],
  'session-id-mismatch': ['stand under the id of another session', UPLOAD_AGAIN],
  'missing-field': ['lack a field', `${UPLOAD_AGAIN}; salvage may read some`],
  'bad-mac-length': ['have a MAC of a wrong length', `${UPLOAD_AGAIN}; salvage may read some`],
  'bad-json': ['are no JSON, or JSON of another shape', UPLOAD_AGAIN],
  'bad-base64': ['hold broken base64', UPLOAD_AGAIN],
  'bad-session-key': ['hold a broken session key', UPLOAD_AGAIN],
  'low-order-key': ['were encrypted with a key that is none', UPLOAD_AGAIN],
  'unsupported-algorithm': ['are of another algorithm', 'Use a client that knows it'],
  'too-large': ['are far larger than any key', UPLOAD_AGAIN],
};

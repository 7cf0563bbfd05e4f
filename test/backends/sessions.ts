import { randomBytes } from 'node:crypto';
import { claimedKey } from '../support/samples.js';
import type { BackupRecord, DecryptResult, ExportedSessionData } from '../../src/index.js';

/** What the tests of the backends share: room keys, and records damaged in every way that has a code of its own. */

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64').replace(/=+$/, '');

export function sessions(count: number): ExportedSessionData[] {
  return Array.from({ length: count }, (_, i) => {
    const bytes = randomBytes(165);
    bytes[0] = 1;
    bytes.writeUInt32BE(i, 1);
    return {
      algorithm: 'm.megolm.v1.aes-sha2',
      forwarding_curve25519_key_chain: [],
      room_id: `!room${i % 7}:example.org`,
      sender_claimed_keys: { ed25519: claimedKey() },
      sender_key: base64(randomBytes(32)),
      session_id: base64(bytes.subarray(133)),
      session_key: base64(bytes),
    };
  });
}

type Fields = Record<string, unknown>;
type Damage = (sessionData: Fields) => Fields;

/** What can be wrong with a record, by the code that says so. */
export const DAMAGES: Readonly<Record<string, Damage>> = {
  'low-order-key': (data) => ({ ...data, ephemeral: 'A'.repeat(43) }),
  'mac-mismatch': (data) => ({ ...data, mac: 'A'.repeat(11) }),
  'bad-base64': (data) => ({ ...data, ciphertext: '!' }),
  'bad-length': (data) => ({ ...data, ephemeral: 'AAAA' }),
  'missing-field': ({ mac: _, ...data }) => data,
  'bad-ciphertext-length': (data) => ({ ...data, ciphertext: 'AAAA' }),
};

export function damaged(record: BackupRecord, damage: Damage): BackupRecord {
  const data = record.key_backup_data as { session_data: Fields };
  return { ...record, key_backup_data: { ...data, session_data: damage(data.session_data) } };
}

/** A result in a form that can be compared with another's. */
export function gist(result: DecryptResult) {
  return result.ok
    ? { index: result.index, session: result.session, flags: result.flags }
    : { index: result.index, code: result.error.code, message: result.error.message };
}

export async function all<Result>(results: AsyncIterable<Result>): Promise<Result[]> {
  const taken: Result[] = [];
  for await (const result of results) taken.push(result);
  return taken;
}

/** What a promise fails with. */
export async function failure(promise: Promise<unknown>): Promise<{ code?: string; cause?: unknown }> {
  const nothing = Symbol('nothing');
  const error: unknown = await promise.then(
    () => nothing,
    (reason: unknown) => reason,
  );
  if (error === nothing) throw new Error('expected a failure');
  return error as { code?: string; cause?: unknown };
}

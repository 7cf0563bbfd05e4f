import { describe, expect, test } from 'vitest';
import { encryptSessionsSync } from '../../src/engine/batch.js';
import type { BackupRecord } from '../../src/engine/directions.js';
import { KeyBackupError } from '../../src/engine/errors.js';
import { BackupDecryptionKey } from '../../src/engine/keys.js';
import { rewrite, type Rewriting } from '../../src/engine/rewrite.js';
import type { ExportedSessionData } from '../../src/engine/room-key.js';
import { collect, roomKeys } from './samples.js';

interface Output {
  readonly what: string;
}

interface Encrypted {
  readonly name: string;
}

const key = BackupDecryptionKey.generate();
const sessions = roomKeys(600);
const records = [...encryptSessionsSync(sessions, key.publicKey)] as unknown as BackupRecord[];
const broken = { ...records[0], key_backup_data: {} } as BackupRecord;

/** Leaves every third record as it is and encrypts the others, which only names them. */
const thirds: Rewriting<Output, Encrypted> = {
  plan: ({ session }, record) => {
    const index = records.indexOf(record);
    return index % 3 === 0
      ? { done: { what: `${index} stays` } }
      : { session, source: 'm.legacy-v1', done: ({ name }) => ({ what: `${index} becomes ${name}` }) };
  },
  async *encrypt(given, unauthenticated) {
    await Promise.resolve();
    for (const [index, session] of given.entries()) {
      yield { ok: true, index, name: `${session.session_id} ${String(unauthenticated(session))}` };
    }
  },
};

const rewritten = (
  given: readonly BackupRecord[],
  rewriting: Partial<Rewriting<Output, Encrypted>> = {},
  options = {},
) => collect(rewrite(given, key, options, { ...thirds, ...rewriting }));

describe('a backup that is rewritten', () => {
  test('gives one result per record, in order, whatever becomes of it', async () => {
    const given = [...records.slice(0, 299), broken, ...records.slice(300)];
    const results = await rewritten(given);
    expect(results.map(({ index }) => index)).toEqual(given.map((_, i) => i));
    for (const [i, result] of results.entries()) {
      const what = i % 3 === 0 ? `${i} stays` : `${i} becomes ${sessions[i].session_id} m.legacy-v1`;
      if (i === 299) expect(result).toMatchObject({ ok: false, wellFormed: false });
      else expect(result).toMatchObject({ ok: true, what });
    }
  });

  test('fails where nothing can be planned, and only there', async () => {
    const error = new KeyBackupError('wrong-key', 'expected another');
    const results = await rewritten(records.slice(0, 4), {
      plan: (result, record) => {
        if (record === records[2]) throw error;
        return thirds.plan(result, record);
      },
    });
    expect(results.map(({ ok }) => ok)).toEqual([true, true, false, true]);
    const { room_id, session_id } = sessions[2];
    expect(results[2]).toEqual({ ok: false, index: 2, room_id, session_id, wellFormed: true, error });
  });

  test('fails where nothing can be encrypted, at the index of the record', async () => {
    const error = new KeyBackupError('low-order-key', 'expected another');
    const failed = { ok: false, room_id: 'r', session_id: 's', wellFormed: true, error } as const;
    const results = await rewritten(records.slice(0, 5), {
      async *encrypt(given: readonly ExportedSessionData[]) {
        await Promise.resolve();
        for (const index of given.keys())
          yield index === 1 ? { ...failed, index } : { ok: true, index, name: '' };
      },
    });
    expect(results.map(({ ok }) => ok)).toEqual([true, true, false, true, true]);
    expect(results[2]).toEqual({ ...failed, index: 2 });
  });

  test('says how far it is, of how many where that is known', async () => {
    for (const [total, expected] of [
      [undefined, 3],
      [7, 7],
      [0, 0],
    ]) {
      const totals: unknown[] = [];
      const onProgress = (step: { total: number | undefined }) => totals.push(step.total);
      await rewritten(records.slice(0, 3), {}, { total, onProgress });
      expect(new Set(totals)).toEqual(new Set([expected]));
    }
    const totals: unknown[] = [];
    const onProgress = (step: { total: number | undefined }) => totals.push(step.total);
    await collect(rewrite(records.slice(0, 3).values(), key, { onProgress }, thirds));
    expect(new Set(totals)).toEqual(new Set([undefined]));
  });

  test('lets no more than 256 records wait, however large it is', async () => {
    const sizes: number[] = [];
    const results = await rewritten(records, {
      plan: ({ session }) => ({ session, source: undefined, done: ({ name }) => ({ what: name }) }),
      encrypt: (given, unauthenticated) => {
        sizes.push(given.length);
        return thirds.encrypt(given, unauthenticated);
      },
    });
    expect(results).toHaveLength(600);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(256);
  });

  test('throws a fault, and does not end early', async () => {
    const fault = new TypeError('a fault');
    await expect(
      rewritten(records.slice(0, 3), {
        plan: () => {
          throw fault;
        },
      }),
    ).rejects.toBe(fault);
    const nothing = async function* () {
      await Promise.resolve();
      yield* [];
    };
    await expect(rewritten(records.slice(0, 3), { encrypt: nothing })).rejects.toThrow('fewer results');
  });
});

import { describe, expect, test } from 'vitest';
import type { Backend } from '../../src/engine.js';
import {
  BackupDecryptionKey,
  decryptSessionsSync,
  encryptSessionsSync,
  type BackupRecord,
} from '../../src/index.js';
import { decryptSessions } from '../../src/batch/decrypt.js';
import { encryptSessions } from '../../src/batch/encrypt.js';
import { runs } from '../support/runs.js';
import { DAMAGES, all, damaged, failure, gist, sessions } from '../backends/sessions.js';

/** What holds of a batch whichever backend does its work. */
export function backendContract(name: string, backend: () => Backend): void {
  describe(`batches by ${name}`, () => {
    test.each([0, 1, 3, 40, 700])('%i sessions come back as they were, in order', async (count) => {
      const key = BackupDecryptionKey.generate();
      const input = sessions(count);
      const encrypted = await all(encryptSessions(input, key.publicKey, { backend: backend() }));
      expect(encrypted.map(({ index }) => index)).toEqual(input.map((_, i) => i));
      const records = encrypted as unknown as BackupRecord[];
      const decrypted = await all(decryptSessions(records, key, { backend: backend() }));
      expect(decrypted.map((result) => (result.ok ? result.session : result.error))).toEqual(input);
      // The engine reads what the backend wrote.
      expect(decryptSessionsSync(records, key).map(gist)).toEqual(decrypted.map(gist));
    });

    test('every kind of damage, at every place and at all, is told as the engine tells it', async () => {
      const key = BackupDecryptionKey.generate();
      const records = encryptSessionsSync(sessions(40), key.publicKey) as unknown as BackupRecord[];
      const kinds = Object.keys(DAMAGES);
      const step = records.length / runs(records.length);
      const places = records.map((_, at) => at).filter((at) => at % step === 0 || at === records.length - 1);
      const spoilt = [
        ...places.map((at) =>
          records.map((one, i) => (i === at ? damaged(one, DAMAGES['low-order-key']) : one)),
        ),
        ...kinds.map((kind) => records.map((record) => damaged(record, DAMAGES[kind]))),
        records.map((record, i) => (i % 8 in kinds ? damaged(record, DAMAGES[kinds[i % 8]]) : record)),
      ];
      for (const input of spoilt) {
        const results = await all(decryptSessions(input, key, { backend: backend() }));
        expect(results.map(gist)).toEqual(decryptSessionsSync(input, key).map(gist));
      }
      const mixed = await all(decryptSessions(spoilt[spoilt.length - 1], key, { backend: backend() }));
      expect(mixed.slice(0, 8).map((result) => (result.ok ? 'ok' : result.error.code))).toEqual([
        ...kinds,
        'ok',
        'ok',
      ]);
    });

    test('the flags of salvage are the engine’s', async () => {
      const key = BackupDecryptionKey.generate();
      const records = encryptSessionsSync(sessions(5), key.publicKey) as unknown as BackupRecord[];
      const shorter = records.map((record) =>
        damaged(record, (data) => ({ ...data, mac: (data.mac as string).slice(0, 6) })),
      );
      const results = await all(decryptSessions(shorter, key, { backend: backend(), salvage: true }));
      expect(results.map((result) => (result.ok ? result.flags : result.error.code))).toEqual(
        shorter.map(() => ['mac-length']),
      );
    });

    test('another key reads nothing', async () => {
      const records = encryptSessionsSync(sessions(50), BackupDecryptionKey.generate().publicKey);
      const other = BackupDecryptionKey.generate();
      const results = await all(
        decryptSessions(records as unknown as BackupRecord[], other, { backend: backend() }),
      );
      expect(new Set(results.map((result) => (result.ok ? 'ok' : result.error.code)))).toEqual(
        new Set(['mac-mismatch']),
      );
    });

    test('an abort ends it, before the start and on the way', async () => {
      const key = BackupDecryptionKey.generate();
      const before = AbortSignal.abort();
      const never = encryptSessions(sessions(3), key.publicKey, { backend: backend(), signal: before });
      expect((await failure(all(never))).code).toBe('aborted');

      const controller = new AbortController();
      const seen: unknown[] = [];
      const aborted = async () => {
        const options = { backend: backend(), signal: controller.signal };
        for await (const result of encryptSessions(sessions(5000), key.publicKey, options)) {
          seen.push(result);
          if (seen.length === 10) controller.abort();
        }
      };
      expect((await failure(aborted())).code).toBe('aborted');
      expect(seen.length).toBeLessThan(5000);
    });

    test('who stops listening is left alone', async () => {
      const key = BackupDecryptionKey.generate();
      for await (const result of encryptSessions(sessions(3000), key.publicKey, { backend: backend() })) {
        expect(result.ok).toBe(true);
        break;
      }
    });

    test('progress counts up to the end, failures included', async () => {
      const key = BackupDecryptionKey.generate();
      const records = encryptSessionsSync(sessions(600), key.publicKey) as unknown as BackupRecord[];
      records[7] = damaged(records[7], DAMAGES['low-order-key']);
      const steps: { done: number; total: number | undefined; failed: number }[] = [];
      await all(
        decryptSessions(records, key, { backend: backend(), onProgress: (step) => steps.push(step) }),
      );
      expect(steps.at(-1)).toEqual({ done: 600, total: 600, failed: 1 });
      expect(steps.map(({ done }) => done)).toEqual(steps.map(({ done }) => done).sort((a, b) => a - b));
    });
  });
}

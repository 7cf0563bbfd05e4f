import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import Database from 'libsql';
import { expect, test } from 'vitest';
import { ended, killLoop, request, startServe, tokensFile } from '../contracts/kill.js';

const kills = Number(process.env.KILLS ?? 30);

test(`${kills} kills under load lose nothing that was acknowledged, and leave a sound file`, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'killed-'));
  const file = join(directory, 'backup.db');
  await killLoop(kills, ['--db', file], () => {
    const raw = new Database(file);
    expect(raw.prepare('PRAGMA integrity_check').all()).toMatchObject([{ integrity_check: 'ok' }]);
    raw.close();
  });
  rmSync(directory, { recursive: true });
}, 600_000);

test('a server answers while another on its file is stopped in the middle of a write', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'stopped-'));
  const args = ['--db', join(directory, 'backup.db'), '--tokens', tokensFile(directory)];
  const [first, second] = [await startServe(args), await startServe(args)];
  const { version } = await request(first.url, 'POST', '/version', { algorithm: 'a', auth_data: {} });
  const acknowledged = new Set<string>();
  let isOver = false;
  const write = async (url: string, name: string): Promise<void> => {
    for (let i = 0; !isOver; i++) {
      const ids = Array.from({ length: 40 }, (_, n) => `${name}-${i}-${n}`);
      const data = { first_message_index: 0, forwarded_count: 0, is_verified: false, session_data: {} };
      const sessions = Object.fromEntries(ids.map((id) => [id, data]));
      // 503 after 5 s when the stopped one has the lock.
      await request(url, 'PUT', `/keys?version=${String(version)}`, { rooms: { '!r:x': { sessions } } }).then(
        () => {
          for (const id of ids) acknowledged.add(id);
        },
        (error: unknown) => {
          expect(String(error)).toContain('503');
        },
      );
    }
  };
  const writing = Array.from({ length: 8 }, (_, i) => write([first, second][i % 2].url, `w${i}`));
  for (let stop = 0; stop < 10; stop++) {
    await setTimeout(100 + stop * 7);
    first.child.kill('SIGSTOP');
    for (let i = 0; i < 5; i++) {
      expect(await request(second.url, 'GET', '/version')).toMatchObject({ version });
      await setTimeout(20);
    }
    first.child.kill('SIGCONT');
  }
  isOver = true;
  await Promise.all(writing);
  const { rooms } = (await request(second.url, 'GET', '/keys')) as {
    rooms: Record<string, { sessions: object }>;
  };
  const stored = new Set(Object.keys(rooms['!r:x'].sessions));
  expect([...acknowledged].filter((id) => !stored.has(id))).toEqual([]);
  expect(acknowledged.size).toBeGreaterThan(100);
  for (const { child } of [first, second]) {
    await ended(child, 'SIGTERM');
    expect(child.exitCode).toBe(0);
  }
  rmSync(directory, { recursive: true });
}, 120_000);

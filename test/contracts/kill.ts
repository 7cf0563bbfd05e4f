import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';

export const MAIN = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const API = '/_matrix/client/v3/room_keys';
export const TOKEN = 'kill-token';

/** Starts `serve` as a process of its own and waits for its URL. */
export async function startServe(args: readonly string[]): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(
    process.execPath,
    [MAIN, 'serve', '--listen', '127.0.0.1:0', '--rate-limit', '0', '--json', ...args],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => {
      reject(new Error(`serve ended with ${code}`));
    });
    child.stdout.once('data', (line) => {
      resolve((JSON.parse(String(line)) as { url: string }).url);
    });
  });
  return { child, url };
}

/** Ends a process and waits for it. */
export function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => {
      resolve();
    });
    child.kill(signal);
  });
}

/** A tokens file with one user. */
export function tokensFile(directory: string): string {
  const file = join(directory, 'tokens.json');
  const sha256 = createHash('sha256').update(TOKEN).digest('hex');
  writeFileSync(file, JSON.stringify([{ sha256, user_id: '@a:x', device_id: 'D' }]));
  return file;
}

/** A request as that user. */
export async function request(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<Record<string, unknown>> {
  const answer = await fetch(`${url}${API}${path}`, {
    method,
    headers: { authorization: `Bearer ${TOKEN}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status} ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

/**
 * Kills a server under load with SIGKILL, again and again, and looks each time whether every acknowledged key is
 * there, and whether batches are there as a whole or not at all.
 *
 * @param database - The options of `serve` that name it.
 * @param afterKill - Called after each.
 */
export async function killLoop(
  kills: number,
  database: readonly string[],
  afterKill: () => void = () => undefined,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kill-'));
  const args = [...database, '--tokens', tokensFile(directory)];
  const acknowledged = new Map<string, number>();
  const attempted = new Set<string>();
  let version: string | undefined;
  let batches = 0;
  try {
    for (let kill = 0; kill < kills; kill++) {
      const { child, url } = await startServe(args);
      version ??= (await request(url, 'POST', '/version', { algorithm: 'a', auth_data: {} }))
        .version as string;
      let alive = true;
      let acknowledgements = 0;
      // Each round at another moment: after a number of acknowledgements and a little more.
      const enough = new Promise<void>((resolve, reject) => {
        const write = async (): Promise<void> => {
          while (alive) {
            const batch = `b${++batches}`;
            const index = 1_000_000 - batches;
            const data = (i: number) => ({
              first_message_index: index,
              forwarded_count: 0,
              is_verified: false,
              session_data: { batch, pad: 'x'.repeat(i * 10) },
            });
            const sessions = Object.fromEntries(
              Array.from({ length: 40 }, (_, i) => [`${batch}-${i}`, data(i)]),
            );
            attempted.add(batch);
            try {
              // One key is replaced by every batch.
              await request(url, 'PUT', `/keys?version=${version}`, {
                rooms: { '!own:x': { sessions }, '!all:x': { sessions: { s: data(0) } } },
              });
            } catch (error) {
              // A connection may fail, and nothing else.
              if (error instanceof TypeError) continue;
              reject(new Error('the server refused a write', { cause: error }));
              return;
            }
            acknowledged.set(batch, index);
            if (++acknowledgements === 5 + (kill % 7)) resolve();
          }
        };
        void Promise.all(Array.from({ length: 8 }, write));
      });
      await enough;
      await new Promise((resolve) => setTimeout(resolve, (kill * 7) % 23));
      const gone = ended(child, 'SIGKILL');
      alive = false;
      await gone;
      afterKill();
    }
    console.info(`${kills} kills, ${acknowledged.size} batches acknowledged of ${attempted.size}`);
    const { child, url } = await startServe(args);
    const { rooms } = (await request(url, 'GET', '/keys')) as {
      rooms: Record<string, { sessions: Record<string, { first_message_index: number }> }>;
    };
    const stored = new Map<string, number>();
    for (const session of Object.keys(rooms['!own:x'].sessions)) {
      const batch = session.split('-')[0];
      expect(attempted).toContain(batch);
      stored.set(batch, (stored.get(batch) ?? 0) + 1);
    }
    for (const batch of acknowledged.keys()) expect(stored.get(batch)).toBe(40);
    for (const count of stored.values()) expect(count).toBe(40);
    expect(rooms['!all:x'].sessions.s.first_message_index).toBeLessThanOrEqual(
      Math.min(...acknowledged.values()),
    );
    const { count } = await request(url, 'GET', '/version');
    expect(count).toBe(stored.size * 40 + 1);
    await ended(child, 'SIGTERM');
    expect(child.exitCode).toBe(0);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { clientOf, makeBackup, startServer } from './support.js';

/**
 * What runs in a process of its own: every way a request can end. In the end no timer may be left, no answer may be
 * open, and the process has to end by itself.
 */
const script = (client: string, url: string): string => `
  import { RoomKeys } from ${JSON.stringify(`${client}/index.js`)};
  import { downloadKeys } from ${JSON.stringify(`${client}/download.js`)};
  const unhandled = [];
  process.on('unhandledRejection', (error) => unhandled.push(String(error)));
  const options = { baseUrl: ${JSON.stringify(url)}, accessToken: 'x', idleTimeout: 1000, responseTimeout: 1000, retries: 1 };
  const roomKeys = new RoomKeys({ ...options, retryDelay: 1 });
  const outcomes = [];
  const note = (promise) => promise.then(() => outcomes.push('ok'), (error) => outcomes.push(error.code));
  const abortSoon = (milliseconds) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), milliseconds);
    return { signal: controller.signal };
  };
  await note(roomKeys.currentVersion());
  await note(roomKeys.currentVersion());
  await note(roomKeys.currentVersion(abortSoon(20)));
  Math.random = () => 0.9;
  const patient = new RoomKeys({ ...options, retryDelay: 60_000 });
  await note(patient.currentVersion(abortSoon(20)));
  await note((async () => {
    for await (const _ of downloadKeys(roomKeys, 'v1', abortSoon(20)));
  })());
  for await (const _ of downloadKeys(roomKeys, 'v1')) break;
  const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout');
  console.log(JSON.stringify({ outcomes, timers, unhandled }));
`;

it('leaves no timer, no open answer and no unhandled rejection behind, and the process ends', async () => {
  const server = await startServer();
  const version = makeBackup(server);
  const data = { first_message_index: 0, forwarded_count: 0, is_verified: false, session_data: {} };
  for (let i = 0; i < 2000; i++) server.store(version, '!r', `session${i}`, data);
  server.faults = [
    { kind: 'then', effect: () => undefined },
    { kind: 'stall' },
    { kind: 'stall', bytes: 5 },
    { kind: 'stall' },
    { kind: 'drop-before' },
    { kind: 'stall', bytes: 100 },
    { kind: 'stall', bytes: 100_000 },
  ];
  const client = new URL('../../dist/client', import.meta.url).href;
  const code = script(client, server.url);
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  const child = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code], {
    cwd,
    timeout: 50_000,
  });
  const { stdout, stderr } = await child;
  expect(JSON.parse(stdout)).toEqual({
    outcomes: ['ok', 'timeout', 'aborted', 'aborted', 'aborted'],
    timers: [],
    unhandled: [],
  });
  expect(stderr).toBe('');
  while (server.openAnswers > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});

it('has a method for every endpoint', async () => {
  const server = await startServer();
  const { version } = makeBackup(server);
  const roomKeys = clientOf(server);
  const data = {
    first_message_index: 0,
    forwarded_count: 0,
    is_verified: false,
    session_data: { a: 'é' },
    extra: [1],
  };
  await roomKeys.putKeys(version, { rooms: { a: { sessions: { x: data, y: data } } } });
  await roomKeys.putRoomKeys(version, 'b', { sessions: { x: data } });
  const { count } = await roomKeys.putKey(version, 'b', 'y', data);
  expect(count).toBe(4);
  expect(await roomKeys.key(version, 'b', 'y')).toEqual(data);
  const read = async (roomId?: string): Promise<unknown[]> => {
    const items: unknown[] = [];
    for await (const batch of roomKeys.keys(version, { roomId })) {
      for (const { room_id, session_id } of batch) items.push([room_id, session_id]);
    }
    return items;
  };
  expect(await read('b')).toEqual([
    ['b', 'x'],
    ['b', 'y'],
  ]);
  expect(await roomKeys.deleteKey(version, 'b', 'y')).toMatchObject({ count: 3 });
  expect(await roomKeys.deleteRoomKeys(version, 'a')).toMatchObject({ count: 1 });
  expect(await read()).toEqual([['b', 'x']]);
  expect(await roomKeys.deleteKeys(version)).toMatchObject({ count: 0 });
});

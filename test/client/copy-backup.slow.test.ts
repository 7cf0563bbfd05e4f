import { afterEach, describe, expect, it } from 'vitest';
import { copyBackup } from '../../src/client/copy-backup.js';
import { RoomKeys } from '../../src/client/api.js';
import { createMemoryStore } from '../support/memory-store.js';
import { TOKEN_A, serve, temporarySqlite } from '../support/serving.js';
import { clientOf, startServer } from './support.js';
import type { HandlerOptions } from '../../src/server/handler.js';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function server(options: Partial<HandlerOptions> = {}, store = createMemoryStore()) {
  const listening = await serve(store, options);
  cleanups.push(() => listening.stop(0));
  return new RoomKeys({ baseUrl: listening.url, accessToken: TOKEN_A, retryDelay: 1, retries: 1 });
}

const record = (index: number, more: Record<string, unknown> = {}) => ({
  first_message_index: index,
  forwarded_count: 0,
  is_verified: false,
  session_data: { ephemeral: 'e', nested: { __proto: [1, null, 'é'] } },
  ...more,
});

const ROOMS = ['!a:x', '!b/ä:x', '__proto__', '😀', ' '];
const AUTH = { algorithm: 'org.example.unknown', auth_data: { a: [1], signatures: { '@a:x': { k: 's' } } } };

/** A backup of `count` keys with unknown fields, in rooms with odd names. */
async function fill(source: RoomKeys, count: number, index = 5): Promise<string> {
  const version = await source.createVersion(AUTH);
  for (let start = 0; start < count; start += 500) {
    const rooms = new Map<string, string[]>();
    for (let i = start; i < Math.min(count, start + 500); i++) {
      const room = ROOMS[i % ROOMS.length];
      const json = JSON.stringify(record(index, { unsigned: { i }, 'org.example.more': ['x', i] }));
      rooms.set(room, [...(rooms.get(room) ?? []), `${JSON.stringify(`s/${i}`)}:${json}`]);
    }
    const parts = [...rooms].map(([room, keys]) => `${JSON.stringify(room)}:{"sessions":{${keys.join()}}}`);
    await source.putKeys(version, `{"rooms":{${parts.join()}}}`);
  }
  return version;
}

/** Every record by its place, as JSON. */
async function contents(roomKeys: RoomKeys, version: string): Promise<Record<string, string>> {
  const all: [string, string][] = [];
  for await (const batch of roomKeys.keys(version)) {
    for (const item of batch) {
      if (item.error) throw item.error;
      all.push([JSON.stringify([item.room_id, item.session_id]), JSON.stringify(item.key_backup_data)]);
    }
  }
  return Object.fromEntries(all.sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe('copyBackup', () => {
  it('brings every record as it is, whatever the algorithm, and may be repeated', async () => {
    const sqlite = await temporarySqlite();
    cleanups.push(() => sqlite.remove());
    const [source, destination] = [await server(), await server({}, sqlite.store)];
    const version = await fill(source, 1234);
    const progress: number[] = [];
    const first = await copyBackup(source, destination, {
      onProgress: ({ done, total }) => {
        expect(total).toBe(1234);
        progress.push(done);
      },
    });
    expect(first).toMatchObject({
      ...{ outcome: 'complete', created: true, copied: 1234, failures: [], sourceChanged: false },
      ...{ sourceVersion: version, sourceCount: 1234, count: 1234 },
    });
    expect(progress).toEqual([200, 400, 600, 800, 1000, 1200, 1234]);
    const info = await destination.currentVersion();
    expect(info).toMatchObject({ ...AUTH, version: first.version });
    expect(await contents(destination, first.version!)).toEqual(await contents(source, version));
    const second = await copyBackup(source, destination);
    expect(second).toMatchObject({
      outcome: 'complete',
      created: false,
      version: first.version,
      count: 1234,
    });
    // Nothing was written: the etag says so.
    expect(await destination.currentVersion()).toEqual(info);
  });

  it('keeps what is better at the destination, and brings what is better at the source', async () => {
    const [source, destination] = [await server(), await server()];
    const version = await fill(source, 2);
    const { version: copy } = await copyBackup(source, destination);
    await destination.putKey(copy!, '!a:x', 's/0', record(1, { own: true }));
    await source.putKey(version, '!b/ä:x', 's/1', record(2, { own: true }));
    await source.putKey(version, '!new:x', 's', record(3));
    expect(await copyBackup(source, destination)).toMatchObject({ outcome: 'complete', copied: 3, count: 3 });
    const after = await contents(destination, copy!);
    expect(JSON.parse(after['["!a:x","s/0"]'])).toMatchObject({ first_message_index: 1, own: true });
    expect(JSON.parse(after['["!b/ä:x","s/1"]'])).toMatchObject({ first_message_index: 2, own: true });
    expect(Object.keys(after)).toHaveLength(3);
  });

  it('knows its own copy although a device has signed it meanwhile', async () => {
    const [source, destination] = [await server(), await server()];
    await fill(source, 1);
    const { version } = await copyBackup(source, destination);
    const signatures = { '@a:x': { k: 's', other: 't' } };
    await destination.updateVersion(version!, { ...AUTH, auth_data: { ...AUTH.auth_data, signatures } });
    expect(await copyBackup(source, destination)).toMatchObject({
      outcome: 'complete',
      created: false,
      version,
    });
    expect((await destination.currentVersion())?.auth_data).toMatchObject({ signatures });
  });

  it.each([
    { ...AUTH, auth_data: { a: [2] } },
    { ...AUTH, auth_data: { a: [1, 2] } },
    { ...AUTH, auth_data: { a: { 0: 1 } } },
    { ...AUTH, auth_data: { b: [1] } },
    { ...AUTH, auth_data: {} },
    { ...AUTH, algorithm: 'another' },
  ])('leaves another backup alone unless told (%j)', async (other) => {
    const [source, destination] = [await server(), await server()];
    await fill(source, 3);
    const present = await destination.createVersion(other);
    expect(await copyBackup(source, destination)).toMatchObject({
      ...{ outcome: 'other-backup', version: present, copied: 0 },
    });
    expect((await destination.currentVersion())?.version).toBe(present);
    const told = await copyBackup(source, destination, { replace: true });
    expect(told).toMatchObject({ outcome: 'complete', created: true, copied: 3 });
    expect((await destination.currentVersion())?.version).toBe(told.version);
  });

  it('says that there is no backup, and makes none', async () => {
    const [source, destination] = [await server(), await server()];
    expect(await copyBackup(source, destination)).toMatchObject({ outcome: 'no-backup', version: undefined });
    expect(await destination.currentVersion()).toBeUndefined();
  });

  /** A source that holds what no server should. */
  async function odd(values: Record<string, unknown>) {
    const source = await startServer();
    const version = source.createVersion('org.example.unknown', { a: [1] });
    for (const [id, value] of Object.entries(values)) source.store(version, '!r', id, value as never);
    return clientOf(source);
  }

  it('names each record that is refused, and copies all others', async () => {
    const good = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`good ${i}`, record(i)]));
    // Many in a row: that must not pass for a server that refuses everything.
    const bad = Object.fromEntries(
      Array.from({ length: 250 }, (_, i) => [`bad ${i}`, { ...record(0), first_message_index: -1 }]),
    );
    const numbers = {
      fraction: record(0, { session_data: { a: [0.5] } }),
      large: record(0, { unsigned: { b: 2 ** 60 } }),
    };
    const source = await odd({ ...good, none: 5, empty: {}, ...numbers, ...bad });
    const heard: string[] = [];
    const destination = await server();
    const outcome = await copyBackup(source, destination, {
      onFailed: ({ room_id, session_id, error }) => heard.push(`${room_id} ${session_id} ${error.code}`),
    });
    expect(outcome).toMatchObject({ outcome: 'incomplete', copied: 300, count: 300, sourceCount: 554 });
    expect(outcome.failures).toHaveLength(254);
    expect(heard.sort()).toEqual(
      [
        ...['!r none http', '!r empty http', '!r fraction bad-json', '!r large bad-json'],
        ...Object.keys(bad).map((id) => `!r ${id} http`),
      ].sort(),
    );
    expect(Object.keys(await contents(destination, outcome.version!))).toHaveLength(300);
  });

  it('makes smaller requests where the destination asks for it', async () => {
    const [source, destination] = [await server(), await server({ maxBody: 4000 })];
    const version = await fill(source, 300);
    const outcome = await copyBackup(source, destination);
    expect(outcome).toMatchObject({ outcome: 'complete', copied: 300 });
    expect(await contents(destination, outcome.version!)).toEqual(await contents(source, version));
  });

  it('goes on when connections break on either side', async () => {
    const source = await odd(Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`s${i}`, record(i)])));
    const destination = await startServer();
    destination.faulty = (method) => method === 'PUT';
    destination.faults = [
      { kind: 'drop-before' },
      { kind: 'drop-after' },
      { kind: 'answer', status: 502, body: '' },
    ];
    const outcome = await copyBackup(source, clientOf(destination));
    expect(outcome).toMatchObject({ outcome: 'complete', copied: 900, count: 900 });
  });

  it('is not complete when a side has fewer keys than it should', async () => {
    const source = await startServer();
    const version = source.createVersion('a', {});
    source.store(version, '!r', 's', record(0));
    source.faulty = (_, path) => path.includes('/room_keys/keys');
    source.faults = [{ kind: 'misreport', body: '{"rooms":{}}' }];
    expect(await copyBackup(clientOf(source), await server())).toMatchObject({
      outcome: 'incomplete',
      copied: 0,
    });
    const destination = await startServer();
    destination.faulty = (method) => method === 'PUT';
    destination.faults = [{ kind: 'answer', status: 200, body: '{"etag":"1","count":1}' }];
    expect(await copyBackup(clientOf(source), clientOf(destination))).toMatchObject({
      ...{ outcome: 'incomplete', copied: 1, count: 0 },
    });
  });

  it('says when the source changes meanwhile', async () => {
    const source = await startServer();
    const version = source.createVersion('a', {});
    source.store(version, '!r', 's', record(0));
    source.faulty = (_, path) => path.includes('/room_keys/keys');
    const effects = [
      () => {
        source.store(version, '!r', 'early', record(0));
      },
      () => {
        source.createVersion('a', { b: 1 });
      },
    ];
    const destination = await server();
    source.faults = effects.map((effect) => ({ kind: 'then', effect }));
    const copy = () => copyBackup(clientOf(source), destination);
    expect(await copy()).toMatchObject({ outcome: 'complete', copied: 2, count: 2, sourceChanged: true });
    expect(await copy()).toMatchObject({ outcome: 'replaced', sourceVersion: version.version });
  });

  it('stops at a refusal that is of all keys, and by its signal', async () => {
    const [source, destination] = [await server(), await server({ quota: { keys: 100 } })];
    await fill(source, 1000);
    await expect(copyBackup(source, destination)).rejects.toMatchObject({
      errcode: 'M_RESOURCE_LIMIT_EXCEEDED',
    });
    const stranger = new RoomKeys({ baseUrl: (await startServer()).url, accessToken: 'x' });
    await expect(copyBackup(source, stranger, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    });
    const open = await server();
    const controller = new AbortController();
    const stopped = copyBackup(source, open, {
      batchKeys: 10,
      signal: controller.signal,
      onProgress: ({ done }) => {
        if (done >= 50) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
    expect((await open.currentVersion())?.count).toBeLessThan(200);
    expect(await copyBackup(source, open)).toMatchObject({
      outcome: 'complete',
      created: false,
      count: 1000,
    });
  });
});

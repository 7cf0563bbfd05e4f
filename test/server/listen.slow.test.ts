import { request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { listen, type Listening } from '../../src/server/listen.js';
import { openSqliteStore } from '../../src/server/sqlite/index.js';
import type { BackupStore } from '../../src/server/store.js';
import { ended, startServe } from '../contracts/kill.js';
import { keyOf, newVersion } from '../contracts/store.js';
import { createMemoryStore } from '../support/memory-store.js';
import { TOKEN_A, serve, temporarySqlite } from '../support/serving.js';

const API = '/_matrix/client/v3/room_keys';
const USER = '@user0:x';
const authorization = `Bearer ${TOKEN_A}`;

let server: { url: string; stop: (grace?: number) => Promise<void> } | undefined;
afterEach(() => server?.stop(0));

/** Sends raw bytes and waits until the server ends the connection. */
function untilClosed(url: string, send: (socket: Socket) => void): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      send(socket);
    });
    let text = '';
    socket.on('data', (chunk) => (text += String(chunk)));
    socket.on('close', () => {
      resolve(text);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
  });
}

describe('bounded', () => {
  const slow = { headersTimeout: 200, requestTimeout: 400, idleTimeout: 5_000 };

  test('headers that never end are cut off', async () => {
    server = await serve(createMemoryStore(), {}, slow);
    const answer = await untilClosed(server.url, (socket) =>
      socket.write(`GET ${API}/version HTTP/1.1\r\nhost: x\r\nx-a: `),
    );
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('a body that drips is cut off', async () => {
    server = await serve(createMemoryStore(), {}, slow);
    let dripping: NodeJS.Timeout | undefined;
    await untilClosed(server.url, (socket) => {
      const lines = [
        `POST ${API}/version HTTP/1.1`,
        'host: x',
        `authorization: ${authorization}`,
        'content-length: 100000',
      ];
      socket.write(`${lines.join('\r\n')}\r\n\r\n`);
      dripping = setInterval(() => socket.write(' '), 20);
    });
    clearInterval(dripping);
    expect((await fetch(`${server.url}${API}/version`, { headers: { authorization } })).status).toBe(404);
  });

  test.each([
    ['announced', 'content-length: 100000000'],
    ['not announced', 'transfer-encoding: chunked'],
  ])('a body beyond the limit, %s, is not taken to its end', async (_name, framing) => {
    server = await serve(createMemoryStore(), { maxBody: 1_000_000 });
    let sent = 0;
    const chunk = ' '.repeat(65_536);
    const answer = await untilClosed(server.url, (socket) => {
      socket.write(
        `POST ${API}/version HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n${framing}\r\n\r\n`,
      );
      const write = (): void => {
        if (sent > 200_000_000 || socket.destroyed) return;
        sent += chunk.length;
        const more = framing.startsWith('transfer') ? `10000\r\n${chunk}\r\n` : chunk;
        socket.write(more, (error) => {
          if (!error) write();
        });
      };
      write();
    });
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toContain('M_TOO_LARGE');
    expect(sent).toBeLessThan(50_000_000);
  });

  test('a client that stops reading is let go', async () => {
    const { store, remove } = await temporarySqlite();
    server = await serve(store, {}, { idleTimeout: 300 });
    const version = await newVersion(store, USER);
    const keys = Array.from({ length: 200 }, (_, i) => keyOf('!r:x', `s${i}`, 0, false, 'y'.repeat(100_000)));
    await store.writeKeys(USER, version, keys, {}, undefined);
    await untilClosed(server.url, (socket) => {
      socket.write(`GET ${API}/keys HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n\r\n`);
      socket.pause();
      // A paused socket hears of its end only when it reads again.
      setTimeout(() => socket.resume(), 3_000);
    });
    await server.stop();
    await remove();
  });
});

test('an answer that fails half-way destroys the connection', async () => {
  const store = createMemoryStore();
  let reads = 0;
  server = await serve({
    ...store,
    readKeys: (...args) => (++reads > 8 ? Promise.reject(new Error('gone')) : store.readKeys(...args)),
  });
  const version = await newVersion(store, USER);
  await store.writeKeys(
    USER,
    version,
    Array.from({ length: 4000 }, (_, i) => keyOf('!r:x', `s${i}`)),
    {},
    undefined,
  );
  const { url } = server;
  const outcome = await new Promise<{ complete: boolean; text: string }>((resolve) => {
    const request = httpRequest(`${url}${API}/keys`, { headers: { authorization } }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.on('error', () => undefined);
      response.on('close', () => {
        resolve({ complete: response.complete, text });
      });
    });
    request.on('error', () => {
      resolve({ complete: false, text: 'no answer' });
    });
    request.end();
  });
  expect(outcome.complete).toBe(false);
  expect(outcome.text).toContain('first_message_index');
  expect(() => JSON.parse(outcome.text) as unknown).toThrow();
});

test('stopping lets requests finish, takes no new ones, and does not wait for ever', async () => {
  const store = createMemoryStore();
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  let arrived: () => void = () => undefined;
  const arriving = new Promise<void>((resolve) => (arrived = resolve));
  const slowly: Partial<BackupStore> = {
    readVersion: async (...args) => {
      arrived();
      await held;
      return store.readVersion(...args);
    },
  };
  server = await serve({ ...store, ...slowly });
  const version = await newVersion(store, USER);
  const { url } = server;
  const running = fetch(`${url}${API}/version`, { headers: { authorization } });
  await arriving;
  const stopped = server.stop();
  await expect(fetch(`${url}${API}/version`)).rejects.toThrow();
  release();
  expect(await (await running).json()).toMatchObject({ version });
  await stopped;
});

test('requests that do not finish are cut off after the grace', async () => {
  const arriving: Promise<Listening>[] = [];
  let arrived: () => void = () => undefined;
  const inside = new Promise<void>((resolve) => (arrived = resolve));
  arriving.push(
    listen(() => {
      arrived();
      return new Promise(() => undefined);
    }),
  );
  const listening = await arriving[0];
  const running = fetch(listening.url).catch((error: unknown) => error);
  await inside;
  await listening.stop(50);
  expect(await running).toBeInstanceOf(Error);
});

describe('a database in trouble', () => {
  test('a full SQLite file gives 503, stores nothing, and recovers', async () => {
    const { store, remove } = await temporarySqlite({ maxPages: 200 });
    server = await serve(store, { maxRecord: 3_000_000 });
    const version = await newVersion(store, USER);
    const put = async (room: string, size: number): Promise<number> => {
      const { data } = keyOf(room, 's', 0, false, 'y'.repeat(size));
      const path = `${API}/keys/${room}/s?version=${version}`;
      const answer = await fetch(server!.url + path, {
        method: 'PUT',
        headers: { authorization },
        body: data,
      });
      const body = (await answer.json()) as Record<string, unknown>;
      if (answer.status === 503) expect(body).toMatchObject({ errcode: 'M_UNKNOWN' });
      return answer.status;
    };
    expect(await put('!a:x', 100_000)).toBe(200);
    expect(await put('!b:x', 2_000_000)).toBe(503);
    expect(await store.readVersion(USER, version)).toMatchObject({ count: 1, etag: '1' });
    expect(await put('!c:x', 100_000)).toBe(200);
    expect(await store.readVersion(USER, version)).toMatchObject({ count: 2, etag: '2' });
    await server.stop();
    await remove();
  });

  test('an SQLite file of a newer release is not touched', async () => {
    const { store, file, remove } = await temporarySqlite();
    const { default: Database } = await import('libsql');
    const raw = new Database(file);
    raw.exec('PRAGMA user_version = 999');
    raw.close();
    await expect(openSqliteStore(file)).rejects.toMatchObject({ code: 'unsupported-schema' });
    await expect(openSqliteStore('/nonexistent/backup.db')).rejects.toMatchObject({ code: 'store-failed' });
    await store.ping();
    await remove();
  });
});

test('serve --dev rejects a dot segment, before it asks for a token', async () => {
  const { child, url } = await startServe(['--dev']);
  try {
    const { hostname, port } = new URL(url);
    const path = '/_matrix/client/v3/room_keys/keys/%2E/!r%3Ax?version=v';
    const status = await new Promise((resolve, reject) => {
      httpRequest({ host: hostname, port, method: 'DELETE', path }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(status).toBe(400);
  } finally {
    await ended(child, 'SIGTERM');
  }
});

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createBackup } from '../../src/client/backup.js';
import type { Fetch } from '../../src/client/fetch-attempt.js';
import { Restore } from '../../src/client/restore.js';
import { RoomKeys } from '../../src/client/api.js';
import { uploadSessions } from '../../src/client/upload.js';
import { BackupDecryptionKey, BackupMacKey, encryptSession } from '../../src/index.js';
import { openPostgresStore } from '../../src/server/postgres/index.js';
import type { BackupStore } from '../../src/server/store.js';
import { startPostgres } from '../support/postgres.js';
import { directSessions, forwardedSessions } from '../support/sample.js';
import { TOKEN_A, serve, temporarySqlite } from '../support/serving.js';

/**
 * `unsigned` holds the proof of where a key comes from. The server keeps it and returns it equal as JSON; what
 * JSON.stringify has written, to the byte.
 */

const key = BackupDecryptionKey.generate();
const macKey = BackupMacKey.fromDecryptionKey(key);
const trust = { userId: '@user0:x', decryptionKey: key };
const sessions = [...directSessions(30), ...forwardedSessions(5)];

interface Opened {
  readonly store: BackupStore;
  readonly remove: () => Promise<void>;
}

const STORES: readonly [string, () => Promise<Opened>][] = [
  ['SQLite', () => temporarySqlite()],
  [
    'PostgreSQL',
    async () => {
      const server = await startPostgres();
      const store = await openPostgresStore(await server.createDatabase());
      return {
        store,
        remove: async () => {
          await store.close();
          await server.stop();
        },
      };
    },
  ],
];

describe.each(STORES)('%s', (_, open) => {
  let opened: Opened;
  let stop: (() => Promise<void>) | undefined;
  let url = '';

  beforeAll(async () => {
    opened = await open();
  });
  afterAll(() => opened.remove());
  afterEach(() => stop?.());

  /** A client that remembers the bodies that it has sent. */
  async function begin() {
    const serving = await serve(opened.store);
    stop = () => serving.stop(0);
    ({ url } = serving);
    const sent: string[] = [];
    const recording: Fetch = async (input, init) => {
      if (init.method === 'PUT' && init.body !== undefined) sent.push(init.body);
      return fetch(input, init);
    };
    const roomKeys = new RoomKeys({ baseUrl: url, accessToken: TOKEN_A, fetch: recording });
    return { roomKeys, sent };
  }

  async function answer(version: string): Promise<string> {
    const at = `${url}/_matrix/client/v3/room_keys/keys?version=${version}`;
    const response = await fetch(at, { headers: { authorization: `Bearer ${TOKEN_A}` } });
    return response.text();
  }

  /** The text of every `session_data` in a body. */
  const texts = (body: string) => {
    const found = [...body.matchAll(/"session_data":(\{(?:[^{}"]|"(?:[^"\\]|\\.)*"|\{[^{}]*\})*\})/g)];
    return found.map(([, text]) => text).sort();
  };

  test('gives what a client uploaded as it came, and the restore verifies it', async () => {
    const { roomKeys, sent } = await begin();
    const info = await createBackup(roomKeys, { publicKey: key.publicKey });
    await uploadSessions(roomKeys, info, sessions, { trust, macKey, bindRoomId: true });
    const uploaded = sent.flatMap(texts).sort();
    expect(uploaded).toHaveLength(sessions.length);
    expect(uploaded.every((text) => text.includes('"org.matrix.msc4048.backup_mac":"'))).toBe(true);
    expect(texts(await answer(info.version))).toEqual(uploaded);
    const restore = new Restore(roomKeys, (await roomKeys.currentVersion())!, key);
    for await (const result of restore) expect(result.ok).toBe(true);
    expect(restore.summary.authenticity).toEqual({
      ...{ verified: 30, 'declared-unauthenticated': 5, 'wrong-mac': 0, 'no-mac': 0 },
    });
  });

  test('gives other contents of unsigned as they came, too, nothing lost and nothing added', async () => {
    const { roomKeys } = await begin();
    const { version } = await createBackup(roomKeys, { publicKey: key.publicKey });
    const { room_id, session_id, key_backup_data } = encryptSession(sessions[0], key.publicKey, { macKey });
    const { unsigned, ...rest } = key_backup_data.session_data;
    const mac = JSON.stringify(unsigned).slice(1, -1);
    const odd =
      `{"z":1,${mac},"a":[null,false,"\\u0000\\u00e9/\\/é😀"],"10":2,"9":3,"__proto__":{"x":[]},` +
      `"e\\u0301":"é","":" "}`;
    const data = `${JSON.stringify(rest).slice(0, -1)},"unsigned":${odd}}`;
    const metadata = '"first_message_index":0,"forwarded_count":0,"is_verified":false';
    const at = [room_id, session_id].map(encodeURIComponent).join('/');
    const put = await fetch(`${url}/_matrix/client/v3/room_keys/keys/${at}?version=${version}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${TOKEN_A}` },
      body: `{${metadata},"session_data":${data}}`,
    });
    expect(put.status).toBe(200);
    const body = await answer(version);
    expect(body).toContain(JSON.stringify(JSON.parse(odd)));
    const restore = new Restore(roomKeys, (await roomKeys.currentVersion())!, key);
    for await (const result of restore) expect(result).toMatchObject({ ok: true, authenticity: 'verified' });
    expect(restore.summary.ok).toBe(1);
  });
});

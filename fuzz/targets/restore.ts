import { BackupReader } from '../../src/wire/backup-reader.js';
import { Restore } from '../../src/client/restore.js';
import { RoomKeys } from '../../src/client/api.js';
import { pureBackend } from '../../src/batch/backend.js';
import { decryptSession } from '../../src/batch/decrypt.js';
import { encryptSession } from '../../src/batch/encrypt.js';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/scheme/auth-data.js';
import { KeyBackupError } from '../../src/errors.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import type { ExportedSessionData } from '../../src/formats/room-key.js';
import { claim, claimEqual, inChunks, words, type Seen, type Target } from '../target.js';
import { vectorCases } from '../corpus.js';

const KEY = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x42));
const INFO = {
  algorithm: BACKUP_ALGORITHM,
  auth_data: { ...createAuthData(KEY.publicKey) },
  version: 'v',
  etag: '0',
  count: 2,
};
const CODES = ['bad-response', 'http', 'network'];
const KEY_CODES = [
  'bad-json',
  'bad-utf8',
  'missing-field',
  'too-large',
  'bad-base64',
  'bad-length',
  'bad-mac-length',
  'bad-ciphertext-length',
  'low-order-key',
  'mac-mismatch',
  'bad-padding',
  'bad-session-key',
  'session-id-mismatch',
  'unsupported-algorithm',
  'room-id-mismatch',
];

/** A restore over HTTP, from the body of the answer to the last key, against reading it whole. */
export const restoreTarget: Target = {
  name: 'restore',
  jsonAt: 1,
  words: words`
    "rooms":{ "sessions":{ {"rooms":{"!r":{"sessions":{ }}}} "session_data":{ "ephemeral":"
    "ciphertext":" "mac":" "first_message_index":0 "forwarded_count":0 "is_verified":false
    "__proto__": , \" "org.megolm-backup.next_batch":"t"
  `,
  seeds: () => {
    const sessions = vectorCases('key-export.prepare')
      .filter(({ result, flags }) => result === 'valid' && Array.isArray(flags))
      .map(({ entry }) => entry as ExportedSessionData)
      .slice(0, 3);
    const records = sessions.map((session) => encryptSession(session, KEY.publicKey));
    const rooms = Object.fromEntries(
      records.map(({ room_id, session_id, key_backup_data }) => [
        room_id,
        { sessions: { [session_id]: key_backup_data } },
      ]),
    );
    return [
      `\x07${JSON.stringify({ rooms })}`,
      '\x03{"rooms":{"!r":{"sessions":{"s":{"session_data":{}}}}}}',
      '\x00{"rooms":{}}',
    ];
  },
  maxLength: 6000,
  async run(input, seen) {
    const [seed = 0] = input;
    const body = input.subarray(1);
    const restored = await restore(body, seed, seen);
    const read = expected(body);
    claimEqual(restored.rows, read.rows, 'the same keys as from the whole body');
    claimEqual(restored.whole, read.whole, 'a whole body ends well, any other with an error');
  },
};

interface Restored {
  readonly rows: string[];
  readonly whole: boolean;
}

/** What tells results apart: where, and what came of it. */
function row(room: string | undefined, session: string | undefined, path: string, outcome: string): string {
  return JSON.stringify([room, session, path, outcome]);
}

async function restore(body: Uint8Array, seed: number, seen: Seen): Promise<Restored> {
  const roomKeys = new RoomKeys({
    baseUrl: 'https://server.example',
    accessToken: 'token',
    retries: 0,
    fetch: () => Promise.resolve(answer(body, seed)),
  });
  const rows: string[] = [];
  try {
    for await (const result of new Restore(roomKeys, INFO, KEY, { backend: pureBackend })) {
      const outcome = result.ok ? JSON.stringify(result.session) : result.error.code;
      if (!result.ok) claim(KEY_CODES.includes(outcome), `a declared code, not ${outcome}`);
      seen.count(result.ok ? 'key accepted' : `key ${outcome}`);
      rows.push(row(result.room_id, result.session_id, result.path, outcome));
    }
    seen.count('accepted');
    return { rows, whole: true };
  } catch (error) {
    seen.refused(CODES, error);
    return { rows, whole: false };
  }
}

function answer(body: Uint8Array, seed: number) {
  const chunks = inChunks(body, seed);
  const reader = {
    read: () => {
      const { value, done = false } = chunks.next();
      return Promise.resolve({ value: value ?? undefined, done });
    },
    cancel: () => Promise.resolve(),
  };
  return {
    status: 200,
    headers: { get: () => null },
    body: { getReader: () => reader },
    arrayBuffer: () => Promise.reject(new Error('not here')),
  };
}

function expected(body: Uint8Array): Restored {
  const reader = new BackupReader();
  const rows: string[] = [];
  const places = new Set<string>();
  let whole = true;
  try {
    for (const item of reader.push(body)) {
      const { room_id, session_id, path, error } = item;
      const place = `${String(error?.code)} ${path}`;
      if (error && places.has(place)) continue;
      if (error) places.add(place);
      rows.push(
        row(
          room_id,
          session_id,
          path,
          error ? error.code : decrypted(room_id ?? '', session_id ?? '', item.key_backup_data),
        ),
      );
    }
    reader.end();
  } catch {
    whole = false;
  }
  // A token for a next page asks for the same body again, which never ends well.
  if (typeof reader.fields.get('org.megolm-backup.next_batch') === 'string') whole = false;
  return { rows, whole };
}

function decrypted(room_id: string, session_id: string, key_backup_data: unknown): string {
  try {
    return JSON.stringify(decryptSession({ room_id, session_id, key_backup_data }, KEY).session);
  } catch (error) {
    if (error instanceof KeyBackupError) return error.code;
    throw error;
  }
}

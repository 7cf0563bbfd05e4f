import type { BackupForm, BackupItem } from '../../src/wire/backup-item.js';
import { BackupReader } from '../../src/wire/backup-reader.js';
import { jsonPath } from '../../src/encoding/json.js';
import { KeyBackupError } from '../../src/errors.js';
import { claim, claimEqual, inChunks, jsonOf, textOf, words, type Seen, type Target } from '../target.js';

const CODES = ['bad-json', 'bad-utf8', 'missing-field', 'too-large', 'truncated'];
const FORMS: readonly BackupForm[] = ['rooms', 'sessions', 'array'];
const LIMITS = { maxRecordBytes: 500, maxDepth: 10 };

/** A whole backup as it arrives: the same however it is cut, and what JSON.parse gives of the same body. */
export const backupReaderTarget: Target = {
  name: 'backup-reader',
  jsonAt: 2,
  words: [
    ...words`
    "rooms":{ "sessions":{ "!r:e":{ {"rooms":{"!r":{"sessions":{ }}}} "next_batch":"t" "__proto__":
"s":{"first_message_index":0} "t":{"session_data":{}}, {"room_id":"!r","session_id":"s"} \" \\ "\u0073essions" , null [] "a":1 [[[[[[[[[[[
    ]]]]]]]]]]]
  `,
    '\ufeff',
    'x'.repeat(500),
  ],
  seeds: () => [
    '\x00\x00{"rooms":{"!r":{"sessions":{"a":{"x":1},"b":[2]}},"!q":{"sessions":{}}},"n":1}',
    '\x00\x03{"rooms":{"!r":{"x":1,"sessions":{"a":1,"a":2}},"!r":{"sessions":{"b":{"c":"}\\""}}}}}',
    '\x01\x02{"sessions":{"a":{"first_message_index":0},"b":oops,"__proto__":3}}',
    '\x02\x05[{"room_id":"!r","session_id":"s"}, 7, {"room_id":1}, nonsense, []]',
    '\x00\x09{"rooms":{"!r":null,"!q":{"sessions":[]},"!p":{}}}',
  ],
  run(input, seen) {
    const [formByte = 0, seed = 0] = input;
    const form = FORMS[formByte % 3];
    const body = input.subarray(2);
    const whole = read(body, form, 0, seen);
    claimEqual(read(body, form, seed, seen), whole, 'the same however it is cut');
    const { items, code } = whole;
    if (form !== 'sessions') {
      const saved = read(body, form, 0, seen, true);
      const cut = read(body, form, seed, seen, true);
      // Of a value that is too large only the last piece is searched, once damage shows in it.
      if (body.length <= LIMITS.maxRecordBytes)
        claimEqual(cut, saved, 'a saved file, the same however it is cut');
      const isWhole = code === undefined && items.every(({ error }) => error === undefined);
      if (isWhole && saved.code === undefined)
        claimEqual(saved, whole, 'a whole file, the same as an answer');
      claim(saved.items.length >= items.length || saved.code !== undefined, 'no less of a saved file');
      const ids = saved.items
        .filter(({ error }) => !error)
        .map((row) => JSON.stringify([row.room_id, row.session_id]));
      claim(form === 'array' || new Set(ids).size === ids.length, 'no record twice');
    }
    const parsed = jsonOf(textOf(body));
    if (code === undefined && items.every(({ error }) => error === undefined)) {
      claim(parsed !== undefined || !isUtf8(body), 'a body without a fault is JSON');
      if (parsed)
        claimEqual(sorted(items), sorted(expectedItems(parsed.value, form)), 'what JSON.parse gives');
    }
    // What is JSON of the right shape is read, but for what is too large or there twice.
    if (parsed && isUtf8(body) && hasShape(parsed.value, form)) {
      claim(code === undefined, `a right body is not refused with ${String(code)}`);
    }
  },
};

interface Row {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly path: string;
  readonly value: unknown;
  readonly error: string | undefined;
}

function read(
  body: Uint8Array,
  form: BackupForm,
  seed: number,
  seen: Seen,
  isSaved = false,
): { items: Row[]; code?: string } {
  const reader = new BackupReader({ form, roomId: '!one', ...LIMITS }, isSaved);
  const items: Row[] = [];
  try {
    for (const chunk of inChunks(body, seed)) items.push(...reader.push(chunk).map(rowOf));
    items.push(...reader.rest().map(rowOf));
    reader.end();
    seen.count('accepted');
    return { items };
  } catch (error) {
    seen.refused(CODES, error);
    return { items, code: (error as KeyBackupError).code };
  }
}

function rowOf(item: BackupItem): Row {
  const { room_id, session_id, path, error } = item;
  if (error) claim(CODES.includes(error.code), `a declared code, not ${error.code}`);
  return { room_id, session_id, path, value: error ? undefined : item.key_backup_data, error: error?.code };
}

function sorted(rows: readonly Row[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort();
}

function isUtf8(bytes: Uint8Array): boolean {
  return Buffer.compare(Buffer.from(textOf(bytes), 'utf8'), bytes) === 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function own(value: unknown, name: string): unknown {
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

function hasShape(body: unknown, form: BackupForm): boolean {
  if (form === 'array') return Array.isArray(body);
  return isObject(own(body, form));
}

function expectedItems(body: unknown, form: BackupForm): Row[] {
  const row = (room_id: unknown, session_id: unknown, path: string, value: unknown): Row => ({
    room_id: typeof room_id === 'string' ? room_id : undefined,
    session_id: typeof session_id === 'string' ? session_id : undefined,
    path,
    value,
    error: undefined,
  });
  const ofRoom = (roomId: string, sessions: unknown, path: string) =>
    Object.entries(sessions as object).map(([id, value]) =>
      row(roomId, id, jsonPath(path, id), value as unknown),
    );
  if (form === 'array') {
    return (body as unknown[]).map((value, i) =>
      row(own(value, 'room_id'), own(value, 'session_id'), jsonPath('', i), value),
    );
  }
  if (form === 'sessions') return ofRoom('!one', own(body, 'sessions'), 'sessions');
  return Object.entries(own(body, 'rooms') as object).flatMap(([roomId, room]) =>
    ofRoom(roomId, own(room, 'sessions'), jsonPath(jsonPath('rooms', roomId), 'sessions')),
  );
}

import { readFile } from 'node:fs/promises';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Restore } from '../src/client/restore.js';
import { RoomKeys } from '../src/client/api.js';
import { uploadSessions } from '../src/client/upload.js';
import {
  BACKUP_ALGORITHM,
  BackupDecryptionKey,
  BackupMacKey,
  createAuthData,
  encryptSession,
  verifyAuthData,
  type EncryptSettings,
  type ExportedSessionData,
  type KeyBackupData,
} from '../src/index.js';
import { addBackupMac, encryptSessionData } from '../src/engine.js';
import { KeyBackupServer } from './support/key-backup-server.js';
import { libolm } from './support/peers.js';
import { directSessions } from './support/sample.js';

/**
 * The server plays every trick it has on a user's backup, and what the client reports is held against SECURITY.md,
 * whose table is the one that is made here.
 */

const USER = '@alice:example.org';
const key = BackupDecryptionKey.generate();
const macKey = BackupMacKey.fromDecryptionKey(key);
const [target, other] = directSessions(2);
const ROOM = '!another:example.org';
/** What is reported of a record that does not come. */
const NOTHING = 'nothing';

/** A session of the server's own making, under the name of a device of its choice. */
let planted: ExportedSessionData;
/** The session that the user has backed up twice: at first only its later part. */
let early: ExportedSessionData;
let late: ExportedSessionData;

beforeAll(async () => {
  const olm = await libolm();
  const own = olm.megolmSession(0);
  planted = { ...target, session_id: own.session_id, session_key: own.session_keys[0] };
  const { session_id, session_keys } = olm.megolmSession(0, 100);
  [early, late] = session_keys.map((session_key) => ({ ...target, session_id, session_key }));
});

/** A record where the server keeps it, free to be changed. */
interface Kept {
  room_id: string;
  session_id: string;
  data: Omit<KeyBackupData, 'session_data'> & { session_data: Record<string, unknown> };
}

/** How the user writes. */
interface Writing {
  readonly name: string;
  readonly settings: EncryptSettings;
}

const WRITINGS: readonly Writing[] = [
  { name: 'without backup_mac', settings: {} },
  { name: 'with backup_mac', settings: { macKey } },
  { name: 'and with the room bound', settings: { macKey, bindRoomId: true } },
];

function written(session: ExportedSessionData, { settings }: Writing, of = key): Kept {
  const own = of === key ? settings : {};
  const { room_id, session_id, key_backup_data } = encryptSession(session, of.publicKey, own);
  return { room_id, session_id, data: JSON.parse(JSON.stringify(key_backup_data)) };
}

/** What the server can encrypt: it knows the public key and no other. */
function forged(session: ExportedSessionData, fields = {}): Kept {
  const { room_id, session_id, ...plaintext } = session;
  const bytes = new TextEncoder().encode(JSON.stringify({ ...plaintext, ...fields }));
  const session_data = { ...encryptSessionData(bytes, key.publicKey) };
  const metadata = { first_message_index: 0, forwarded_count: 0, is_verified: true };
  return { room_id, session_id, data: { ...metadata, session_data } };
}

/** A trick: what the server answers instead of the record that the user wrote; all of it is restored. */
interface Trick {
  readonly name: string;
  readonly play: (writing: Writing) => Kept[];
  /** Whether chance decides how it shows. */
  readonly byChance?: boolean;
}

const TRICKS: readonly Trick[] = [
  { name: 'nothing: it is honest', play: (writing) => [written(target, writing)] },
  { name: 'plants a session of its own', play: () => [forged(planted)] },
  {
    name: 'plants one with a MAC by a key of its own',
    play: () => {
      const record = forged(planted);
      const macKeyOfItsOwn = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate());
      return [withData(record, (data) => addBackupMac(data, macKeyOfItsOwn))];
    },
  },
  {
    name: 'plants one with the backup_mac of another record',
    play: () => {
      const { unsigned } = written(target, WRITINGS[1]).data.session_data;
      return [withData(forged(planted), (data) => ({ ...data, unsigned }))];
    },
  },
  {
    name: 'plants one that names the room in its plaintext',
    play: () => [forged(planted, { 'org.megolm-backup.room_id': planted.room_id })],
  },
  {
    name: 'encrypts a session that it knows anew, from a device of its choice',
    play: () => [forged({ ...target, sender_key: other.sender_key! })],
  },
  {
    name: 'flips bits in the ciphertext',
    play: (writing) => bitsFlipped(written(target, writing)),
    byChance: true,
  },
  {
    name: 'adds a field to session_data',
    play: (writing) => [withData(written(target, writing), (data) => ({ ...data, more: 1 }))],
  },
  {
    name: 'strips the backup_mac',
    play: (writing) => [withData(written(target, writing), ({ unsigned: _, ...data }) => data)],
  },
  {
    name: 'moves a record to another room',
    play: (writing) => [{ ...written(target, writing), room_id: ROOM }],
  },
  {
    name: 'strips the backup_mac and moves the record to another room',
    play: (writing) => [
      { ...withData(written(target, writing), ({ unsigned: _, ...data }) => data), room_id: ROOM },
    ],
  },
  {
    name: 'puts a record under another session id',
    play: (writing) => [{ ...written(target, writing), session_id: other.session_id }],
  },
  {
    name: 'swaps the session_data of two sessions',
    play: (writing) => {
      const [a, b] = [target, other].map((session) => written(session, writing));
      [a.data, b.data] = [b.data, a.data];
      return [a, b];
    },
  },
  {
    name: 'changes the metadata beside session_data',
    play: (writing) => {
      const { data, ...place } = written(target, writing);
      return [{ ...place, data: { ...data, first_message_index: 9, forwarded_count: 9, is_verified: true } }];
    },
  },
  { name: 'replays an older record of the session', play: (writing) => [written(late, writing)] },
  {
    name: 'replays a record of an older backup with another key',
    play: (writing) => [written(target, writing, BackupDecryptionKey.generate())],
  },
  { name: 'keeps a record back', play: () => [] },
];

function withData(record: Kept, change: (data: Record<string, unknown>) => Record<string, unknown>): Kept {
  return { ...record, data: { ...record.data, session_data: change(record.data.session_data) } };
}

/** The record with one bit of its ciphertext flipped, in many places. */
function bitsFlipped(record: Kept): Kept[] {
  const ciphertext = Buffer.from(record.data.session_data.ciphertext as string, 'base64');
  return Array.from({ length: Math.floor(ciphertext.length / 7) }, (_, i) => {
    const flipped = Buffer.from(ciphertext);
    flipped[7 * i] ^= 1 << (i % 8);
    return withData(record, (data) => ({ ...data, ciphertext: flipped.toString('base64') }));
  });
}

const servers: KeyBackupServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

/** What a client makes of it: each answer is a server of its own, since a place holds one record only. */
async function reported(records: readonly Kept[], requireAuthenticated = false): Promise<string[]> {
  if (records.length === 0) return [NOTHING];
  const reports = new Set<string>();
  // Records in the same place go into places of their own: several restores.
  const rounds: Kept[][] = [];
  for (const record of records) {
    const round = rounds.find((taken) => taken.every((one) => one.session_id !== record.session_id));
    if (round) round.push(record);
    else rounds.push([record]);
  }
  const server = await new KeyBackupServer().start();
  servers.push(server);
  for (const round of rounds) {
    const version = server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(key.publicKey) });
    for (const { room_id, session_id, data } of round) {
      version.keys.set(room_id, version.keys.get(room_id) ?? new Map<string, never>());
      version.keys.get(room_id)!.set(session_id, data);
    }
    const roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: 'TOKEN' });
    const info = (await roomKeys.currentVersion())!;
    const seen = [];
    const restore = new Restore(roomKeys, info, key, { requireAuthenticated });
    for await (const result of restore) {
      seen.push(result);
      reports.add(result.ok ? result.authenticity : result.error.code);
      if (result.ok) expect(result.authenticated).toBe(result.authenticity === 'verified');
    }
    expect(seen).toHaveLength(round.length);
  }
  return [...reports].sort();
}

const SAID = ['no-mac', 'wrong-mac', 'declared-unauthenticated', 'verified', 'not-authenticated'];

/** A cell of the table. Which way damage of a ciphertext shows, padding, UTF-8 or JSON, is chance. */
function cell(reports: readonly string[], byChance: boolean): string {
  const named = reports.map((report) => {
    if (report === NOTHING) return report;
    return byChance && !SAID.includes(report) ? 'refused as damaged' : `\`${report}\``;
  });
  return [...new Set(named)].join(', ');
}

describe('what a lying server achieves', () => {
  const rows = new Map<Trick, Promise<readonly string[]>>();

  /** Found out once, by whichever test asks first. */
  function rowOf(trick: Trick): Promise<readonly string[]> {
    const row = rows.get(trick) ?? achieved(trick);
    rows.set(trick, row);
    return row;
  }

  async function achieved({ play, byChance = false }: Trick): Promise<readonly string[]> {
    const cells: string[] = [];
    for (const writing of WRITINGS) cells.push(cell(await reported(play(writing)), byChance));
    cells.push(cell(await reported(play(WRITINGS[2]), true), byChance));
    return cells;
  }

  test.each(TRICKS)('$name', async (trick) => {
    expect(await rowOf(trick)).toHaveLength(WRITINGS.length + 1);
  });

  test('is what SECURITY.md says', async () => {
    const names = WRITINGS.map((writing) => writing.name);
    const head = ['the server', ...names, 'and required'];
    const lines = [head, head.map(() => '---')];
    for (const trick of TRICKS) lines.push([trick.name, ...(await rowOf(trick))]);
    const table = lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
    const text = await readFile(new URL('../SECURITY.md', import.meta.url), 'utf8');
    const [, said] = /<!-- tricks -->\n\n([\s\S]*?)\n\n<!-- \/tricks -->/.exec(text) ?? [];
    expect(said).toBe(table);
  });

  test('never makes a record that it touched come out as verified, but for what is not covered', async () => {
    const uncovered = [
      'nothing: it is honest',
      'moves a record to another room',
      'changes the metadata beside session_data',
      'replays an older record of the session',
    ];
    for (const trick of TRICKS) {
      const cells = await rowOf(trick);
      if (!uncovered.includes(trick.name)) expect(cells.join()).not.toContain('verified');
      expect(cells[0]).not.toContain('verified');
    }
    const moves = TRICKS.find(({ name }) => name === 'moves a record to another room')!;
    expect((await rowOf(moves)).slice(1)).toEqual(['`verified`', '`room-id-mismatch`', '`room-id-mismatch`']);
  });

  test('the index is the session key’s, whatever the metadata say', async () => {
    const { play } = TRICKS.find(({ name }) => name.startsWith('changes the metadata'))!;
    const [{ data, ...place }] = play(WRITINGS[1]);
    expect(data.first_message_index).toBe(9);
    const server = await new KeyBackupServer().start();
    servers.push(server);
    const version = server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(key.publicKey) });
    server.store(version, place.room_id, place.session_id, data);
    const roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: 'TOKEN' });
    for await (const result of new Restore(roomKeys, (await roomKeys.currentVersion())!, key)) {
      expect(result).toMatchObject({ ok: true, session: { session_key: target.session_key } });
      expect(JSON.stringify(result)).not.toContain('"first_message_index"');
    }
  });

  test('a key that is kept back shows only where the server’s own count does not fit', async () => {
    const server = await new KeyBackupServer().start();
    servers.push(server);
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(key.publicKey) });
    const roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: 'TOKEN' });
    const info = (await roomKeys.currentVersion())!;
    for (const [count, missing] of [
      [0, 0],
      [1, 1],
    ]) {
      const restore = new Restore(roomKeys, { ...info, count }, key);
      for await (const result of restore) expect(result).toBeUndefined();
      expect(restore.summary.missing).toBe(missing);
    }
  });
});

describe('a server that offers another backup as the user’s', () => {
  const itsOwn = BackupDecryptionKey.generate();

  test.each([
    ['its own', createAuthData(itsOwn.publicKey)],
    ['another user’s', createAuthData(BackupDecryptionKey.generate().publicKey)],
    [
      'the user’s with another key in it',
      { ...createAuthData(key.publicKey), ...createAuthData(itsOwn.publicKey) },
    ],
  ])('%s: nothing is read from it and nothing written to it', async (_, auth_data) => {
    const server = await new KeyBackupServer().start();
    servers.push(server);
    const version = server.createVersion(BACKUP_ALGORITHM, { ...auth_data });
    const { room_id, session_id, data } = forged(planted);
    server.store(version, room_id, session_id, data);
    const roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: 'TOKEN' });
    const info = (await roomKeys.currentVersion())!;
    expect(() => new Restore(roomKeys, info, key)).toThrow(expect.objectContaining({ code: 'wrong-key' }));
    const verdict = verifyAuthData(auth_data, { userId: USER, decryptionKey: key });
    expect(verdict).toMatchObject({ trusted: false, keyMatches: false });
    const trust = { userId: USER, decryptionKey: key };
    const upload = uploadSessions(roomKeys, info, [target], { trust });
    await expect(upload).rejects.toMatchObject({ code: 'untrusted-backup' });
    expect(server.seen.every(({ method }) => method === 'GET')).toBe(true);
  });

  test('rejects the MAC key of another backup even where encryption to its key was allowed', async () => {
    const server = await new KeyBackupServer().start();
    servers.push(server);
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(itsOwn.publicKey) });
    const roomKeys = new RoomKeys({ baseUrl: server.url, accessToken: 'TOKEN' });
    const trust = 'encrypt-to-an-untrusted-backup' as const;
    const upload = uploadSessions(roomKeys, (await roomKeys.currentVersion())!, [target], { trust, macKey });
    await expect(upload).rejects.toMatchObject({ code: 'wrong-key' });
    expect(server.keysOf(server.versions[0])).toEqual([]);
  });
});

describe('who has the MAC key and not the decryption key', () => {
  test('writes what passes for verified: it is a key to give to devices one trusts', async () => {
    const given = BackupMacKey.fromBase64(macKey.toBase64());
    const { data, ...place } = forged(planted);
    const record = { ...place, data: { ...data, session_data: addBackupMac(data.session_data, given) } };
    expect(await reported([record], true)).toEqual(['verified']);
  });
});

test('who has the decryption key can do all of it: a leaked one is replaced, not kept', async () => {
  const stolen = BackupDecryptionKey.fromBase64(key.toBase64());
  const thief = { name: 'thief', settings: { macKey: BackupMacKey.fromDecryptionKey(stolen) } };
  expect(await reported([written(planted, thief)], true)).toEqual(['verified']);
});

test('early and late are one session: the older record replayed reads less, and is verified', () => {
  expect(late.session_id).toBe(early.session_id);
});

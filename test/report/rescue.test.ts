import { beforeEach, expect, it, test } from 'vitest';
import type { BackupEntry, BackupFault, BackupItem } from '../../src/wire/backup-item.js';
import { Report } from '../../src/report/report.js';
import {
  KeyMatchCounter,
  UNLOCKED_BY,
  exportRescued,
  rescueItems,
  type RescuedKey,
} from '../../src/report/rescue.js';
import type { Backend } from '../../src/batch/backend.js';
import { entryOf } from '../../src/batch/entries.js';
import { KeyBackupError } from '../../src/errors.js';
import { nodeBackend } from '../../src/backends/node.js';
import { readKeyExport } from '../../src/formats/key-export.js';
import { encryptSessionData } from '../../src/engine.js';
import { BackupDecryptionKey, encryptSession, type ExportedSessionData } from '../../src/index.js';
import { directSessions } from '../support/sample.js';
import { collect } from '../support/samples.js';

const key = BackupDecryptionKey.generate();
const [first, second, third] = directSessions(3);
/** How long a passphrase is stretched is not the matter here. */
const backend: Backend = { ...nodeBackend(), pbkdf2: () => Promise.resolve(new Uint8Array(64).fill(7)) };

function record(session: ExportedSessionData, to = key): BackupEntry {
  const { room_id, session_id, key_backup_data } = encryptSession(session, to.publicKey);
  return { room_id, session_id, path: `at-${session_id}`, key_backup_data };
}

const broken: BackupFault = {
  room_id: '!b:x',
  session_id: 'b',
  path: 'broken',
  error: new KeyBackupError('bad-json', 'broken: expected JSON, got something else'),
};

async function* stream<T>(items: readonly T[]) {
  for (const item of items) yield await Promise.resolve(item);
}

const rescued = (items: readonly BackupItem[], options = {}) =>
  collect(rescueItems(stream(items), key, { backend, ...options }));

it('keeps every record with its place, whatever came between', async () => {
  const foreign = record(second, BackupDecryptionKey.generate());
  const found = await rescued([record(first), broken, foreign, record(third), broken]);
  const places = found.map(({ path }) => path);
  expect(places).toHaveLength(5);
  expect(new Set(places)).toEqual(
    new Set([`at-${first.session_id}`, 'broken', foreign.path, `at-${third.session_id}`]),
  );
  // Those that were read stand in their order.
  expect(places.filter((path) => path !== 'broken')).toEqual([
    `at-${first.session_id}`,
    foreign.path,
    `at-${third.session_id}`,
  ]);
  for (const result of found) {
    if (result.ok) expect(result.path).toBe(`at-${result.session.session_id}`);
    else if (result.path === 'broken') {
      expect(result).toMatchObject({ ...broken, wellFormed: false, ok: false });
    } else {
      expect(result).toMatchObject({ error: { code: 'mac-mismatch' }, wellFormed: true });
    }
  }
});

it('gives what the reader refused where nothing else is', async () => {
  expect(await rescued([broken, broken])).toMatchObject([{ path: 'broken' }, { path: 'broken' }]);
  expect(await rescued([])).toEqual([]);
});

it('does not read a record whose ids are missing, and says so', async () => {
  const { key_backup_data, path } = record(first);
  const nowhere = { room_id: undefined, session_id: undefined, path, key_backup_data };
  expect(await rescued([nowhere])).toMatchObject([
    { ok: false, path, room_id: undefined, error: { code: 'session-id-mismatch' } },
  ]);
});

it('reads with salvage what it does not read without', async () => {
  const item = record(first);
  const { session_data } = item.key_backup_data as { session_data: { mac: string } };
  session_data.mac = Buffer.from(session_data.mac, 'base64').subarray(0, 7).toString('base64');
  expect(await rescued([item])).toMatchObject([{ ok: false, error: { code: 'bad-mac-length' } }]);
  expect(await rescued([item], { salvage: true })).toMatchObject([
    { ok: true, flags: ['mac-length'], session: { session_id: first.session_id } },
  ]);
});

let report: Report;
let matches: KeyMatchCounter;
let told: [path: string, ok: boolean][];

beforeEach(() => {
  report = new Report();
  matches = new KeyMatchCounter();
  told = [];
});

const asEntries = (keys: readonly RescuedKey[]) => stream(keys.map((key) => ({ ...key, ...entryOf(key) })));

async function exported(keys: readonly RescuedKey[]): Promise<string> {
  const pieces = exportRescued(asEntries(keys), 'a passphrase', report, matches, {
    backend,
    onKey: ({ path }, ok) => told.push([path, ok]),
  });
  return (await collect(pieces)).join('');
}

test('the export file holds what came out, and the report all', async () => {
  const foreign = record(second, BackupDecryptionKey.generate());
  const file = await exported(await rescued([record(first), foreign, record(third)]));
  const results = await readKeyExport(file, 'a passphrase', { backend });
  expect(results.map((result) => result.ok && result.session.session_id)).toEqual([
    first.session_id,
    third.session_id,
  ]);
  expect(report.summary).toEqual({ total: 3, ok: 2, failed: 1, flagged: 0 });
  expect(report.authenticity).toMatchObject({ 'no-mac': 2 });
  expect(JSON.parse(report.json)).toMatchObject({
    keys: [{ path: `$.${foreign.path}`, code: 'mac-mismatch', session_id: second.session_id }],
  });
  expect(told).toEqual([
    [`at-${first.session_id}`, true],
    [foreign.path, false],
    [`at-${third.session_id}`, true],
  ]);
  expect(matches.fits).toBe(true);
});

test('a key that no record was encrypted to does not fit', async () => {
  const foreign = record(second, BackupDecryptionKey.generate());
  await exported(await rescued([foreign]));
  expect(told).toEqual([[foreign.path, false]]);
  expect(matches.fits).toBe(false);
});

test('a key that cannot be written to the file fails in its place', async () => {
  const [good, bad] = await rescued([record(first), record(second)]);
  if (!bad.ok) throw bad.error;
  const spoilt = { ...bad, session: { ...bad.session, room_id: 'no room' } };
  await exported([spoilt, good]);
  expect(told).toEqual([
    [`at-${second.session_id}`, false],
    [`at-${first.session_id}`, true],
  ]);
  expect(JSON.parse(report.json)).toMatchObject({ failed: 1, keys: [{ path: `$.at-${second.session_id}` }] });
});

test('what was overlooked in reading is reported once the key is in the file', async () => {
  const [good] = await rescued([record(first)]);
  if (!good.ok) throw good.error;
  await exported([{ ...good, flags: ['bad-padding'] }]);
  expect(JSON.parse(report.json)).toMatchObject({ ok: 1, flagged: 1, keys: [{ flags: ['bad-padding'] }] });
});

test('a record that other implementations drop is flagged once, and mended in the file', async () => {
  const { room_id, session_id, ...fields } = first;
  const plaintext = JSON.stringify({ ...fields, sender_claimed_keys: { ed25519: 'x' } });
  const session_data = encryptSessionData(new TextEncoder().encode(plaintext), key.publicKey);
  const key_backup_data = { first_message_index: 0, forwarded_count: 0, is_verified: false, session_data };
  const file = await exported(await rescued([{ room_id, session_id, path: 'here', key_backup_data }]));
  expect(JSON.parse(report.json)).toMatchObject({
    flagged: 1,
    keys: [{ path: '$.here', flags: ['unusable-claimed-key', 'unreadable-by-others', 'no-claimed-ed25519'] }],
  });
  const [written] = await readKeyExport(file, 'a passphrase', { backend });
  expect(written).toMatchObject({ ok: true, flags: [], session: { sender_claimed_keys: {} } });
});

test('onKey is optional', async () => {
  const foreign = record(second, BackupDecryptionKey.generate());
  const keys = await rescued([record(first), foreign]);
  await collect(exportRescued(asEntries(keys), 'a passphrase', report, matches, { backend }));
  expect(report.summary).toMatchObject({ ok: 1, failed: 1 });
});

test('every way of unlocking has a name for people', () => {
  expect(UNLOCKED_BY).toEqual({
    'backup-decryption-key': 'the decryption key of the backup',
    'secret-storage-key': 'the key of the secret storage',
    'security-phrase': 'the security phrase',
    'backup-passphrase': 'the passphrase of the backup',
  });
});

const READABLE = { ok: true };
const FOREIGN = { ok: false, wellFormed: true, error: { code: 'mac-mismatch' } };
const DAMAGED = { ok: false, wellFormed: true, error: { code: 'bad-padding' } };
const LOW_ORDER = { ok: false, wellFormed: true, error: { code: 'low-order-key' } };
const MALFORMED = { ok: false, wellFormed: false, error: { code: 'bad-base64' } };

test.each([
  ['no record', [], true],
  ['a record that was read', [READABLE], true],
  ['only records of another key', [FOREIGN, FOREIGN], false],
  ['a record of another key and one that was read', [FOREIGN, READABLE], true],
  ['a record of another key and one with a right MAC', [FOREIGN, DAMAGED], true],
  ['a record of another key and some that tell nothing about it', [FOREIGN, MALFORMED, LOW_ORDER], false],
  ['only records that tell nothing about the key', [MALFORMED, LOW_ORDER], true],
])('%s: the key fits or does not', (_, results, fits) => {
  const matches = new KeyMatchCounter();
  for (const result of results) matches.add(result);
  expect(matches.fits).toBe(fits);
});

test('a record that cannot be parsed, or failed without an error, tells nothing about the key', () => {
  const matches = new KeyMatchCounter();
  matches.add({ ok: false, wellFormed: true, error: { code: 'mac-mismatch' } });
  matches.add({ ok: false, error: { code: 'bad-json' } });
  matches.add({ ok: false });
  expect(matches.fits).toBe(false);
  matches.add({ ok: false, wellFormed: true });
  expect(matches.fits).toBe(true);
});

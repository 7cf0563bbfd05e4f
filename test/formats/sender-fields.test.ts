import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  BackupDecryptionKey,
  KeyBackupError,
  decryptSession,
  decryptSessions,
  encryptSession,
  encryptSessions,
  encryptSessionsSync,
} from '../../src/index.js';
import { encryptSessionData, prepareRoomKey } from '../../src/engine.js';
import * as curvePoint from '../../src/curve25519/edwards.js';
import { publicSigningKeyOf } from '../../src/curve25519/ed25519.js';
import { prepareExportedSession } from '../../src/formats/exported-session.js';
import { canonicalClaimedKey } from '../../src/formats/sender-fields.js';
import { vodozemac } from '../support/peers.js';
import { runs } from '../support/runs.js';
import { anyCharacter, base64, claimedKey, collect, roomKey, sessionKey, total } from '../support/samples.js';

/** What other implementations refuse in a room key, live against vodozemac: mended, or flagged, never dropped in silence. */

const vodo = await vodozemac();
const key = BackupDecryptionKey.generate();

/** A session with a real Ed25519 key inside, as vodozemac demands. */
function session(change: object = {}) {
  const { session_key, session_id } = sessionKey(7, publicSigningKeyOf(randomBytes(32)));
  return { ...roomKey({ session_key, session_id }), ...change };
}

/** A record with the fields as they are, as another client may have written it. */
function rawRecord({ room_id, session_id, ...fields }: ReturnType<typeof roomKey>) {
  const plaintext = JSON.stringify(fields);
  const session_data = encryptSessionData(new TextEncoder().encode(plaintext), key.publicKey);
  const numbers = { first_message_index: 7, forwarded_count: 0, is_verified: false };
  return { record: { room_id, session_id, key_backup_data: { ...numbers, session_data } }, plaintext };
}

function plaintextOf({ key_backup_data }: ReturnType<typeof encryptSession>): string {
  return vodo.decryptV1(key.toBytes(), key_backup_data.session_data);
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** The same bytes, other bits behind them. */
const trailing = (text: string) => text.slice(0, -1) + ALPHABET[ALPHABET.indexOf(text.at(-1)!) | 1];

const sender = base64(randomBytes(32));
const point = claimedKey();
const noPoint = base64(Uint8Array.of(2, ...new Uint8Array(31)));
const lowOrder = base64(Uint8Array.of(1, ...new Uint8Array(31)));
const urlSafe = '-_'.repeat(21) + 'A';
const senderFlags = ['unusable-sender-key', 'unreadable-by-others'];
const roomFlags = ['unusable-room-id', 'unreadable-by-others'];
const claimed = (ed25519: unknown, more: object = {}) => ({ sender_claimed_keys: { ed25519, ...more } });
const chain = (...keys: unknown[]) => ({ forwarding_curve25519_key_chain: keys });

/** Name, change, whether vodozemac takes a record with it as it is, what encryption flags or refuses it with. */
const FORMS: readonly [string, object, boolean, readonly string[] | string][] = [
  ['as it should be', {}, true, []],
  ['an empty sender_key', { sender_key: '' }, false, senderFlags],
  ['a sender_key of "garbage"', { sender_key: 'garbage' }, false, senderFlags],
  ['a sender_key of 31 bytes', { sender_key: base64(randomBytes(31)) }, false, senderFlags],
  ['a sender_key of 33 bytes', { sender_key: base64(randomBytes(33)) }, false, senderFlags],
  ['a sender_key of 100 kB', { sender_key: 'A'.repeat(100_000) }, false, senderFlags],
  ['a URL-safe sender_key', { sender_key: urlSafe }, false, senderFlags],
  ['a sender_key with a space', { sender_key: `${sender} ` }, false, senderFlags],
  ['a sender_key with a line feed', { sender_key: `${sender}\n` }, false, senderFlags],
  ['a sender_key with too much padding', { sender_key: `${sender}==` }, false, senderFlags],
  ['trailing bits in the sender_key', { sender_key: trailing(sender) }, false, []],
  ['trailing bits and padding', { sender_key: `${trailing(sender)}=` }, false, []],
  ['a padded sender_key', { sender_key: `${sender}=` }, true, []],
  ['a sender_key of zeros', { sender_key: base64(new Uint8Array(32)) }, true, []],
  ['a sender_key that is a number', { sender_key: 5 }, false, 'bad-json'],
  ['a sender_key that is null', { sender_key: null }, false, 'bad-json'],
  ['no sender_key', { sender_key: undefined }, false, 'missing-field'],
  ['a claimed key that is not a point', claimed(noPoint), false, ['unusable-claimed-key']],
  ['a claimed key of low order', claimed(lowOrder), true, []],
  ['a claimed key of 31 bytes', claimed(base64(randomBytes(31))), false, ['unusable-claimed-key']],
  ['an empty claimed key', claimed(''), false, ['unusable-claimed-key']],
  ['a claimed key of 100 kB', claimed('A'.repeat(100_000)), false, ['unusable-claimed-key']],
  ['a claimed key that is a number', claimed(5), false, ['unusable-claimed-key']],
  ['a claimed key that is null', claimed(null), false, ['unusable-claimed-key']],
  ['another claimed key that is a number', claimed(point, { other: 5 }), false, ['unusable-claimed-key']],
  ['trailing bits in the claimed key', claimed(trailing(point)), false, []],
  ['a padded claimed key', claimed(`${point}=`), true, []],
  ['another claimed key of garbage', claimed(point, { curve25519: 'x', '': 'y' }), true, []],
  [
    'a claimed key named __proto__',
    JSON.parse(`{"sender_claimed_keys":{"__proto__":"x"}}`) as object,
    true,
    [],
  ],
  ['no claimed key', { sender_claimed_keys: {} }, true, []],
  ['claimed keys that are null', { sender_claimed_keys: null }, false, ['unusable-claimed-key']],
  ['claimed keys that are text', { sender_claimed_keys: 'x' }, false, ['unusable-claimed-key']],
  ['no claimed keys at all', { sender_claimed_keys: undefined }, false, ['missing-sender-claimed-keys']],
  ['a chain of one key', chain(sender), true, []],
  ['a padded key in the chain', chain(`${sender}=`), true, []],
  ['trailing bits in the chain', chain(trailing(sender)), false, []],
  ['garbage in the chain', chain(sender, 'garbage'), false, ['unusable-forwarding-chain']],
  ['an empty key in the chain', chain(''), false, ['unusable-forwarding-chain']],
  ['a number in the chain', chain(5), false, ['unusable-forwarding-chain']],
  ['a hole in the chain', chain(null), false, ['unusable-forwarding-chain']],
  ['a chain that is text', { forwarding_curve25519_key_chain: 'x' }, false, ['unusable-forwarding-chain']],
  ['a chain that is null', { forwarding_curve25519_key_chain: null }, false, ['unusable-forwarding-chain']],
  [
    'a chain that is an object',
    { forwarding_curve25519_key_chain: {} },
    false,
    ['unusable-forwarding-chain'],
  ],
  ['no chain', { forwarding_curve25519_key_chain: undefined }, true, []],
  ['m.shared_history that is text', { 'm.shared_history': 'x' }, false, ['bad-shared-history']],
  ['m.shared_history that is null', { 'm.shared_history': null }, false, ['bad-shared-history']],
  ['m.shared_history that contradicts', { shared_history: true, 'm.shared_history': 5 }, false, []],
  [
    'two spellings of shared_history',
    { 'm.shared_history': true, 'org.matrix.msc3061.shared_history': true },
    false,
    [],
  ],
  ['a room id without "!"', { room_id: 'room:example.org' }, false, roomFlags],
  ['an empty room id', { room_id: '' }, false, roomFlags],
  ['a room alias', { room_id: '#room:example.org' }, false, roomFlags],
  ['a room id with U+0000', { room_id: '!a\0b:example.org' }, false, roomFlags],
  ['a room id without a server', { room_id: '!é' }, true, []],
];

describe('a session with an unusable field', () => {
  it.each(FORMS)(
    'is written so that vodozemac imports it, or is flagged: %s',
    async (_, change, __, expected) => {
      const written = total(() => encryptSession(session(change), key.publicKey));
      if (written instanceof KeyBackupError) {
        expect(written.code).toBe(expected);
        return;
      }
      expect(written.flags).toEqual(expected);
      const { room_id, session_id } = written;
      const imported = await vodo.importsRecord(room_id, session_id, plaintextOf(written));
      expect(imported).toBe(!written.flags.includes('unreadable-by-others'));
      // Nothing is left to say about what was mended. The room id is not in the record.
      const again = decryptSession(written, key).flags;
      expect(again).toEqual(imported || 'room_id' in change ? [] : written.flags);
    },
  );

  it.each(FORMS)(
    'is exported so that vodozemac imports it, or is left out: %s',
    async (_, change, __, expected) => {
      const entry = total(() => prepareExportedSession(session(change)));
      const isLeftOut = typeof expected === 'string' || expected.includes('unreadable-by-others');
      if (entry instanceof KeyBackupError) {
        expect(isLeftOut).toBe(true);
        return;
      }
      expect(entry.flags).toEqual(expected);
      expect(await vodo.importsEntry(JSON.stringify(entry.session))).toBe(true);
    },
  );

  it.each(FORMS.filter(([, change]) => !('room_id' in change)))(
    'is flagged when it is read from a record that vodozemac drops: %s',
    async (_, change, taken) => {
      const { record, plaintext } = rawRecord(session(change));
      expect(await vodo.importsRecord(record.room_id, record.session_id, plaintext)).toBe(taken);
      const read = total(() => decryptSession(record, key, { salvage: true }));
      // What it refuses and we do, too, is not lost in silence.
      if (read instanceof KeyBackupError) {
        expect(taken).toBe(false);
        return;
      }
      expect(read.flags.length === 0).toBe(taken);
      const isUnusable = read.flags.some((flag) => flag.startsWith('unusable-'));
      expect(read.flags.includes('unreadable-by-others')).toBe(isUnusable);
    },
  );

  it('is written so that vodozemac imports it, or is flagged, whatever is in it', async () => {
    const odd = fc.oneof(
      fc.constantFrom<unknown>(
        undefined,
        null,
        '',
        'x',
        '!',
        noPoint,
        trailing(sender),
        5,
        {},
        [],
        true,
        '\ud800',
      ),
      fc.constantFrom<unknown>(['x'], [sender], claimed(point).sender_claimed_keys, { ed25519: noPoint }),
      fc.string({ unit: anyCharacter }),
    );
    const names = [
      ...Object.keys(session()),
      'shared_history',
      'm.shared_history',
      'x',
      'a\ud800',
      '__proto__',
    ];
    const field = fc.constantFrom(...names, 'org.matrix.msc3061.shared_history');
    const changes = fc.array(fc.tuple(field, odd), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(changes, async (changed) => {
        const changedSession = Object.fromEntries([...Object.entries(session()), ...changed]);
        const written = total(() => encryptSession(changedSession as never, key.publicKey));
        if (written instanceof KeyBackupError) return;
        const { room_id, session_id } = written;
        const imported = await vodo.importsRecord(room_id, session_id, plaintextOf(written));
        expect(imported).toBe(!written.flags.includes('unreadable-by-others'));
      }),
      { numRuns: runs(200) },
    );
  });
});

describe('what is mended', () => {
  it('keeps everything else of the session', () => {
    const given = session({ ...chain(sender, 'garbage'), ...claimed(noPoint), more: { a: [1, null] } });
    const { session: read } = decryptSession(encryptSession(given, key.publicKey), key);
    expect(read).toEqual({ ...given, sender_claimed_keys: {}, ...chain(sender) });
    expect(given.sender_claimed_keys).toEqual({ ed25519: noPoint });
  });

  it('leaves forwarded_count as it was, so that the record wins over no better one', () => {
    const written = encryptSession(session(chain('garbage', sender, 5)), key.publicKey);
    expect(written.key_backup_data.forwarded_count).toBe(3);
    const unreadable = session({ forwarding_curve25519_key_chain: 'x' });
    expect(encryptSession(unreadable, key.publicKey).key_backup_data.forwarded_count).toBe(0);
  });

  it('is spelt canonically', () => {
    const given = session({
      sender_key: trailing(sender),
      ...claimed(`${point}=`),
      ...chain(trailing(sender)),
    });
    const { session: read } = decryptSession(encryptSession(given, key.publicKey), key);
    expect(read).toMatchObject({ sender_key: sender, ...claimed(point), ...chain(sender) });
  });

  it('is the same in a batch', async () => {
    const sessions = FORMS.map(([, change]) => session(change));
    const ofEach = sessions.map((one) => total(() => encryptSession(one, key.publicKey)));
    const expected = ofEach.map((one) => (one instanceof KeyBackupError ? one.code : one.flags));
    const flagsOf = (results: ReturnType<typeof encryptSessionsSync>) =>
      results.map((result) => (result.ok ? result.flags : result.error.code));
    expect(flagsOf(encryptSessionsSync(sessions, key.publicKey))).toEqual(expected);
    expect(flagsOf(await collect(encryptSessions(sessions, key.publicKey)))).toEqual(expected);
  });
});

describe('a claimed key', () => {
  it('is checked once', async () => {
    const check = vi.spyOn(curvePoint, 'isCurvePoint');
    const two = [claimedKey(), claimedKey()];
    check.mockClear();
    const sessions = Array.from({ length: 30 }, (_, i) => roomKey(claimed(two[i % 2])));
    check.mockClear();
    const records = (await collect(encryptSessions(sessions, key.publicKey))).filter((result) => result.ok);
    expect(check).toHaveBeenCalledTimes(2);
    expect(await collect(decryptSessions(records, key))).toHaveLength(30);
    expect(check).toHaveBeenCalledTimes(2);
    check.mockRestore();
  });

  it('is remembered in bounded memory', () => {
    const check = vi.spyOn(curvePoint, 'isCurvePoint');
    const texts = Array.from({ length: 10_000 }, (_, i) => {
      const bytes = new Uint8Array(32);
      new DataView(bytes.buffer).setUint32(0, i);
      return base64(bytes);
    });
    for (const text of texts) expect([text, undefined]).toContain(canonicalClaimedKey(text));
    check.mockClear();
    canonicalClaimedKey(texts[9_999]);
    expect(check).not.toHaveBeenCalled();
    canonicalClaimedKey(texts[0]);
    expect(check).toHaveBeenCalledTimes(1);
    check.mockRestore();
  });
});

describe('a method of the session', () => {
  const hijack = () => ({ hijacked: true });
  class Session {
    constructor(fields: object) {
      Object.assign(this, fields);
    }
    toJSON = hijack;
  }
  class Hijacked {
    [name: string]: unknown;
    toJSON() {
      return 'hijacked';
    }
  }
  const hidden = (value: object) => Object.defineProperty(value, 'toJSON', { value: hijack });

  it.each<[string, (fields: ReturnType<typeof roomKey>) => unknown]>([
    ['an own toJSON', (fields) => ({ ...fields, toJSON: hijack })],
    ['a toJSON that is not enumerable', (fields) => hidden({ ...fields })],
    ['a toJSON of its class', (fields) => Object.assign(new Hijacked(), fields)],
    ['a toJSON of its instance', (fields) => new Session(fields)],
    [
      'a toJSON of the claimed keys',
      (fields) => ({ ...fields, sender_claimed_keys: hidden({ ...fields.sender_claimed_keys }) }),
    ],
    ['a toJSON of the chain', (fields) => ({ ...fields, forwarding_curve25519_key_chain: hidden([]) })],
    ['another function', (fields) => ({ ...fields, toString: hijack })],
  ])('does not change what is written: %s', (_, make) => {
    const fields = session();
    const given = make(fields) as typeof fields;
    expect(prepareRoomKey(given).plaintext).toEqual(prepareRoomKey(fields).plaintext);
    expect(decryptSession(encryptSession(given, key.publicKey), key).session).toEqual(fields);
    expect(JSON.parse(JSON.stringify(prepareExportedSession(given).session))).toEqual(fields);
  });

  it('does not change an unknown field', () => {
    const more = {
      deep: [Object.assign(new Hijacked(), { a: 1 }), hidden([2])],
      left: hijack,
      none: undefined,
    };
    const written = encryptSession(session({ more, 'a\ud83d\ude00': '\\ud800' }), key.publicKey);
    expect(written.flags).toEqual([]);
    expect(decryptSession(written, key).session).toMatchObject({
      more: { deep: [{ a: 1 }, [2]] },
      'a\ud83d\ude00': '\\ud800',
    });
    expect(JSON.stringify(prepareExportedSession(session({ more })).session.more)).toBe(
      '{"deep":[{"a":1},[2]]}',
    );
  });
});

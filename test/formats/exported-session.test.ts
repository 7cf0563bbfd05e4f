import { describe, expect, it } from 'vitest';
import { publicSigningKeyOf } from '../../src/curve25519/ed25519.js';
import { prepareExportedSession, readExportedSession } from '../../src/formats/exported-session.js';
import { base64, refusal, sessionKey } from '../support/samples.js';

const point = publicSigningKeyOf(new Uint8Array(32).fill(1));
const claimed = base64(publicSigningKeyOf(new Uint8Array(32).fill(2)));
const key = base64(new Uint8Array(32).fill(3));
/** The same bytes, other bits behind them. */
const trailing = (text: string) =>
  text.slice(0, -1) + String.fromCharCode(text.charCodeAt(text.length - 1) + 1);
const { session_key, session_id } = sessionKey(7, point);

const entry = (change: object = {}) => ({
  algorithm: 'm.megolm.v1.aes-sha2',
  forwarding_curve25519_key_chain: [],
  room_id: '!room:example.org',
  sender_claimed_keys: { ed25519: claimed },
  sender_key: key,
  session_id,
  session_key,
  ...change,
});
const { session_key: keyOfNoPoint, session_id: idOfNoPoint } = sessionKey(
  7,
  Uint8Array.of(2, ...new Uint8Array(31)),
);
const noPoint = { session_key: keyOfNoPoint, session_id: idOfNoPoint };
const without = (name: string) =>
  Object.fromEntries(Object.entries(entry()).filter(([field]) => field !== name));
const message = (value: unknown) => refusal(() => prepareExportedSession(value)).message;

describe('an entry made fit', () => {
  it('stays as it is where it is fit', () => {
    const { session, flags } = prepareExportedSession(entry({ more: { a: 1 } }));
    expect(session).toEqual(entry({ more: { a: 1 } }));
    expect(flags).toEqual([]);
  });

  it.each<[string, unknown, object, string[]]>([
    ['absent', undefined, {}, ['missing-sender-claimed-keys']],
    ['null', null, {}, ['unusable-claimed-key']],
    ['empty', {}, {}, []],
    ['of another algorithm', { other: 'text' }, { other: 'text' }, []],
    ['of another type', { other: 5 }, {}, ['unusable-claimed-key']],
    ['right beside one of another type', { ed25519: claimed, other: 5 }, {}, ['unusable-claimed-key']],
    ['right beside another', { ed25519: claimed, a: 'b' }, { ed25519: claimed, a: 'b' }, []],
    ['spelt otherwise', { ed25519: `${claimed}=` }, { ed25519: claimed }, []],
    ['no key', { ed25519: 'AAAA' }, {}, ['unusable-claimed-key']],
    ['a number', { ed25519: 5 }, {}, ['unusable-claimed-key']],
  ])('has claimed keys that are usable: %s', (_, given, keys, expected) => {
    const { session, flags } = prepareExportedSession(entry({ sender_claimed_keys: given }));
    expect(session.sender_claimed_keys).toEqual(keys);
    expect(flags).toEqual(expected);
  });

  it.each<[string, unknown, string[], string[]]>([
    ['absent', undefined, [], []],
    ['right', [key, key], [key, key], []],
    ['spelt otherwise', [`${key}=`, trailing(key)], [key, key], []],
    ['partly wrong', [key, 'AAAA', 5], [key], ['unusable-forwarding-chain']],
    ['no chain', 'text', [], ['unusable-forwarding-chain']],
  ])('has a chain that is usable: %s', (_, given, keys, expected) => {
    const { session, flags } = prepareExportedSession(entry({ forwarding_curve25519_key_chain: given }));
    expect(session.forwarding_curve25519_key_chain).toEqual(keys);
    expect(flags).toEqual(expected);
  });

  it('loses unknown fields that are no Unicode, and keeps all that it has to', () => {
    const odd = entry({ more: '\ud800', shared_history: true });
    const { session, flags } = prepareExportedSession(odd);
    expect(session).toEqual(entry({ shared_history: true, 'm.shared_history': true }));
    expect(flags).toEqual(['unknown-fields-dropped']);
  });

  it('has keys in their one canonical form', () => {
    const { session } = prepareExportedSession(entry({ sender_key: trailing(key), session_key }));
    expect(session.sender_key).toBe(key);
    expect(session.session_key).toBe(session_key);
  });
});

describe('an entry that cannot be mended', () => {
  it.each<[string, unknown, string]>([
    ['no object', [], 'session: expected an object, got an array'],
    ['no room id', without('room_id'), 'session.room_id: expected a string, got nothing'],
    ['no session id', without('session_id'), 'session.session_id: expected a string, got nothing'],
    ['no sender key', without('sender_key'), 'session.sender_key: expected a string, got nothing'],
    [
      'a room id with something in front',
      entry({ room_id: 'a!room' }),
      'session.room_id: expected Unicode text that starts with "!", got another text',
    ],
    [
      'a room id with U+0000',
      entry({ room_id: '!a\0b' }),
      'session.room_id: expected Unicode text that starts with "!", got another text',
    ],
    [
      'another algorithm',
      entry({ algorithm: 'other' }),
      'session.algorithm: expected m.megolm.v1.aes-sha2, got another',
    ],
    [
      'a session key that holds no point',
      entry(noPoint),
      'session_key: expected an Ed25519 key inside, got bytes that are not a point of the curve',
    ],
    [
      'a short sender key',
      entry({ sender_key: 'AAAA' }),
      'session.sender_key: expected base64 of 32 bytes, got 3 bytes',
    ],
    [
      'a sender key of 64 characters',
      entry({ sender_key: 'A'.repeat(64) }),
      'session.sender_key: expected base64 of 32 bytes, got 48 bytes',
    ],
    [
      'a long sender key',
      entry({ sender_key: 'A'.repeat(65) }),
      'session.sender_key: expected base64 of 32 bytes, got more',
    ],
    [
      'a room id that is no Unicode',
      entry({ room_id: '!\ud800' }),
      'session.room_id: expected Unicode text that starts with "!", got another text',
    ],
    ['what JSON cannot hold', entry({ more: 1n }), 'session: expected JSON, got a bigint'],
  ])('%s', (_, value, expected) => {
    expect(message(value)).toBe(expected);
  });

  it('has a code', () => {
    expect(refusal(() => prepareExportedSession(entry({ more: 1n }))).code).toBe('bad-json');
    expect(refusal(() => prepareExportedSession(entry(noPoint))).code).toBe('bad-session-key');
    expect(refusal(() => prepareExportedSession(entry({ room_id: 'room' }))).code).toBe('bad-json');
    expect(refusal(() => prepareExportedSession(entry({ room_id: '!\ud800' }))).code).toBe('bad-json');
    expect(refusal(() => prepareExportedSession(entry({ sender_key: '' }))).code).toBe('bad-length');
  });
});

describe('an entry that is read', () => {
  it('may lack the sender', () => {
    const { session, flags } = readExportedSession(without('sender_key'));
    expect(session).toEqual(without('sender_key'));
    expect(flags).toEqual(['missing-sender-key']);
  });

  it.each<[unknown, string]>([
    [null, 'session: expected an object, got null'],
    [without('room_id'), 'session.room_id: expected a string, got nothing'],
    [without('session_id'), 'session.session_id: expected a string, got nothing'],
    [without('algorithm'), 'session.algorithm: expected a string, got nothing'],
  ])('says what it lacks', (value, expected) => {
    expect(refusal(() => readExportedSession(value)).message).toBe(expected);
  });
});

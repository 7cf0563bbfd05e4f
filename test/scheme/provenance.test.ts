import { describe, expect, it } from 'vitest';
import { ROOM_ID_COPY, readUnauthenticated, withProvenance } from '../../src/scheme/provenance.js';

const UNSTABLE = 'org.matrix.msc4048.unauthenticated';
const declared = { room_id: '!r', unauthenticated: 'm.legacy-v1', [UNSTABLE]: 'm.undefined' };

describe('a session with another provenance', () => {
  it('is the session itself where nothing changes, and what is no session stays what it is', () => {
    expect(withProvenance(declared, {})).toBe(declared);
    for (const value of [null, 'text', 5, undefined]) {
      expect(withProvenance(value, { source: 'm.undefined' })).toBe(value);
    }
  });

  it('loses the copy of a room id that it brought along, and keeps what it declared', () => {
    const result = withProvenance({ ...declared, [ROOM_ID_COPY]: '!other' }, {});
    expect(Object.entries(result)).toEqual(Object.entries(declared));
  });

  it('declares what it is told, once, instead of what it brought along', () => {
    expect(Object.entries(withProvenance(declared, { source: 'm.forwarded_room_key' }))).toEqual([
      ['room_id', '!r'],
      [UNSTABLE, 'm.forwarded_room_key'],
    ]);
    expect(Object.entries(withProvenance(declared, { source: 'm.legacy-v1', names: 'stable' }))).toEqual([
      ['room_id', '!r'],
      ['unauthenticated', 'm.legacy-v1'],
    ]);
  });

  it('has the copy where every other version looks for it', () => {
    expect(ROOM_ID_COPY).toBe('org.megolm-backup.room_id');
  });

  it('carries its room id where it is told to', () => {
    const session = { room_id: '!r', [ROOM_ID_COPY]: '!other' };
    expect(Object.entries(withProvenance(session, { bindRoomId: true }))).toEqual([
      ['room_id', '!r'],
      [ROOM_ID_COPY, '!r'],
    ]);
  });
});

describe('a declaration', () => {
  it.each<[Record<string, unknown>, string | undefined]>([
    [{}, undefined],
    [{ unauthenticated: null }, 'm.undefined'],
    [{ [UNSTABLE]: false }, 'm.undefined'],
    [{ [UNSTABLE]: 'm.legacy-v1' }, 'm.legacy-v1'],
    [{ unauthenticated: 'm.forwarded_room_key' }, 'm.forwarded_room_key'],
    [{ unauthenticated: 'anything', [UNSTABLE]: 'm.legacy-v1' }, 'm.legacy-v1'],
    [{ unauthenticated: 'm.undefined' }, 'm.undefined'],
  ])('of %j reads as %s', (plaintext, source) => {
    expect(readUnauthenticated(plaintext)).toBe(source);
  });
});

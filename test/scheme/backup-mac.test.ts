import { createHmac, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BACKUP_MAC_SECRET, BackupDecryptionKey, BackupMacKey, BackupPublicKey } from '../../src/index.js';
import { addBackupMac, canonicalJson, checkBackupMac, encryptSessionData } from '../../src/engine.js';
import {
  ROOM_ID_COPY,
  hasBackupMac,
  readUnauthenticated,
  withProvenance,
} from '../../src/scheme/backup-mac.js';
import { refusal, wellSaid } from '../support/samples.js';

const UNSTABLE = 'org.matrix.msc4048.backup_mac';
const key = BackupDecryptionKey.generate();
const macKey = BackupMacKey.fromDecryptionKey(key);
const sealed = encryptSessionData(new TextEncoder().encode('{"any":"JSON"}'), key.publicKey);
const right = addBackupMac(sealed, macKey);
const rightMac = right.unsigned[UNSTABLE] as string;

function codeOf(operation: () => unknown): string {
  try {
    operation();
  } catch (error) {
    return wellSaid(error).code;
  }
  return 'nothing was thrown';
}

/** A copy with other contents of `unsigned`. */
function withUnsigned(unsigned: unknown): Record<string, unknown> {
  return { ...sealed, unsigned };
}

describe('a MAC that is not right', () => {
  const spoiltMacs: [string, unknown][] = [
    ['of another key', BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate()).mac(sealed)],
    ['cut short', rightMac.slice(0, 42)],
    ['of no bytes', ''],
    ['of one byte', rightMac.slice(0, 2)],
    ['of one byte too many', `${rightMac}AA`],
    ['with one bit flipped', (rightMac.startsWith('A') ? 'B' : 'A') + rightMac.slice(1)],
    ['in the URL-safe alphabet', `-_${rightMac.slice(2)}`],
    ['with a space', `${rightMac} `],
    ['that is absurdly long', rightMac.repeat(100_000)],
    ['null', null],
    ['false', false],
    ['undefined', undefined],
    ['0', 0],
    ['an object', { mac: rightMac }],
    ['an array of it', [rightMac]],
    ['of zeros', 'A'.repeat(43)],
    ['of the empty string', createHmac('sha256', macKeyBytes(macKey)).digest('base64').slice(0, 43)],
  ];
  test.each(spoiltMacs)('%s: wrong-mac under either name', (_, value) => {
    const mac = value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
    expect(checkBackupMac(withUnsigned({ [UNSTABLE]: mac }), macKey)).toBe('wrong-mac');
    expect(checkBackupMac(withUnsigned({ backup_mac: mac }), macKey)).toBe('wrong-mac');
  });

  test.each(spoiltMacs)('%s beside a right one: wrong-mac', (_, value) => {
    const mac = value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
    const both = { backup_mac: rightMac, [UNSTABLE]: mac };
    expect(checkBackupMac(withUnsigned(both), macKey)).toBe('wrong-mac');
    const otherWay = { backup_mac: mac, [UNSTABLE]: rightMac };
    expect(checkBackupMac(withUnsigned(otherWay), macKey)).toBe('wrong-mac');
  });

  test.each(['ephemeral', 'ciphertext', 'mac'] as const)('%s changed, or gone', (field) => {
    const flipped = (right[field].startsWith('A') ? 'B' : 'A') + right[field].slice(1);
    expect(checkBackupMac({ ...right, [field]: flipped }, macKey)).toBe('wrong-mac');
    const { [field]: _, ...without } = right;
    expect(checkBackupMac(without, macKey)).toBe('wrong-mac');
  });

  test('a field added, also one named __proto__', () => {
    expect(checkBackupMac({ ...right, more: 1 }, macKey)).toBe('wrong-mac');
    const hidden = JSON.parse(`{"__proto__":{},${JSON.stringify(right).slice(1)}`);
    expect(Object.keys(hidden)).toContain('__proto__');
    expect(checkBackupMac(hidden, macKey)).toBe('wrong-mac');
  });

  test('what has no canonical form', () => {
    for (const more of [0.5, 2 ** 53, Infinity, '\ud800', undefined, 5n]) {
      expect(checkBackupMac({ ...right, more }, macKey)).toBe('wrong-mac');
    }
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(checkBackupMac({ ...right, deep }, macKey)).toBe('wrong-mac');
  });

  test('none at all is no-mac, also where unsigned is no object', () => {
    expect(checkBackupMac({ ...sealed }, macKey)).toBe('no-mac');
    for (const unsigned of [{}, null, 5, 'text', [], { other: rightMac }, { mac: rightMac }]) {
      expect(checkBackupMac(withUnsigned(unsigned), macKey)).toBe('no-mac');
    }
    expect(checkBackupMac(withUnsigned(Object.create({ backup_mac: rightMac })), macKey)).toBe('no-mac');
    expect(checkBackupMac({ ...sealed, backup_mac: rightMac }, macKey)).toBe('no-mac');
  });
});

describe('a right MAC', () => {
  test('is what the proposal says, computed by node:crypto', () => {
    const { ephemeral, ciphertext, mac } = sealed;
    const text = `{"ciphertext":"${ciphertext}","ephemeral":"${ephemeral}","mac":"${mac}"}`;
    expect(canonicalJson(sealed)).toBe(text);
    const expected = createHmac('sha256', macKeyBytes(macKey)).update(text).digest('base64');
    expect(`${rightMac}=`).toBe(expected);
    expect(checkBackupMac(right, macKey)).toBe('right');
  });

  test('does not cover signatures and unsigned, and covers everything else', () => {
    const more = { ...right, signatures: { '@a:b': {} }, unsigned: { ...right.unsigned, age: 1.5 } };
    expect(checkBackupMac(more, macKey)).toBe('right');
    const known = addBackupMac({ ...sealed, 'org.example.field': { b: [1, null], a: 'ä' } }, macKey);
    expect(checkBackupMac(known, macKey)).toBe('right');
    expect(checkBackupMac({ ...known, 'org.example.field': { b: [1, null], a: 'a' } }, macKey)).toBe(
      'wrong-mac',
    );
  });

  test('is written under one name and read under both, padded or not, after a trip through JSON', () => {
    expect(Object.keys(right.unsigned)).toEqual([UNSTABLE]);
    const stable = addBackupMac({ ...right, unsigned: { ...right.unsigned, age: 5 } }, macKey, 'stable');
    expect(stable.unsigned).toEqual({ age: 5, backup_mac: rightMac });
    expect(checkBackupMac(JSON.parse(JSON.stringify(stable)), macKey)).toBe('right');
    expect(checkBackupMac(withUnsigned({ backup_mac: `${rightMac}=` }), macKey)).toBe('right');
    expect(checkBackupMac(withUnsigned({ backup_mac: rightMac, [UNSTABLE]: rightMac }), macKey)).toBe(
      'right',
    );
  });

  const value = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null));
  const fields = fc.dictionary(
    fc.string(),
    fc.oneof(value, fc.array(value), fc.dictionary(fc.string(), value)),
  );

  test('belongs to its session_data and no other', () => {
    fc.assert(
      fc.property(fields, (more) => {
        const object = addBackupMac({ ...sealed, more }, macKey);
        expect(checkBackupMac(JSON.parse(JSON.stringify(object)), macKey)).toBe('right');
        const others = Object.keys(more).map((name) => ({ ...more, [name]: 0.5 }));
        for (const other of [...others, { ...more, ['x'.repeat(20)]: 1 }]) {
          expect(checkBackupMac({ ...object, more: other }, macKey)).toBe('wrong-mac');
        }
      }),
    );
  });
});

describe('the MAC key', () => {
  test('is what the proposal says, and its own inverse in base64', () => {
    const info = 'MATRIX_BACKUP_MAC_KEY';
    const expected = Buffer.from(hkdfSync('sha256', key.toBytes(), Buffer.alloc(0), info, 32));
    expect(macKey.toBase64()).toBe(expected.toString('base64').replace('=', ''));
    expect(BackupMacKey.fromBase64(expected.toString('base64')).mac(sealed)).toEqual(macKey.mac(sealed));
  });

  test('a disposed one neither writes nor checks: its zeros would be a key that everybody knows', () => {
    const zeros = BackupMacKey.fromBase64('A'.repeat(43));
    const forged = addBackupMac(sealed, zeros);
    const disposed = BackupMacKey.fromDecryptionKey(key);
    disposed.dispose();
    expect(codeOf(() => checkBackupMac(forged, disposed))).toBe('bad-parameters');
    expect(codeOf(() => addBackupMac(sealed, disposed))).toBe('bad-parameters');
    expect(codeOf(() => disposed.toBase64())).toBe('bad-parameters');
  });

  test('is refused in another form than base64 of 32 bytes', () => {
    expect(codeOf(() => BackupMacKey.fromBase64('A'.repeat(42)))).toBe('bad-length');
    expect(codeOf(() => BackupMacKey.fromBase64('A'.repeat(46)))).toBe('bad-length');
    expect(codeOf(() => BackupMacKey.fromBase64('A'.repeat(1_000_000)))).toBe('bad-length');
    expect(codeOf(() => BackupMacKey.fromBase64('-'.repeat(43)))).toBe('bad-base64');
    expect(codeOf(() => BackupMacKey.fromBase64(null as unknown as string))).toBe('bad-json');
    const disposed = BackupDecryptionKey.generate();
    disposed.dispose();
    expect(codeOf(() => BackupMacKey.fromDecryptionKey(disposed))).toBe('bad-parameters');
  });

  test('knows which backup it is of, when it was derived', () => {
    const other = BackupDecryptionKey.generate().publicKey;
    expect(
      codeOf(() => {
        macKey.expectMatch(other);
      }),
    ).toBe('wrong-key');
    expect(() => {
      macKey.expectMatch(key.publicKey);
    }).not.toThrow();
    // X25519 ignores bit 255, so this is the same key.
    const bytes = key.publicKey.toBytes();
    bytes[31] |= 0x80;
    expect(() => {
      macKey.expectMatch(BackupPublicKey.fromBytes(bytes));
    }).not.toThrow();
    expect(() => {
      BackupMacKey.fromBase64(macKey.toBase64()).expectMatch(other);
    }).not.toThrow();
  });

  test('that is the decryption key itself is refused: the two look alike', () => {
    const mistaken = BackupMacKey.fromBase64(key.toBase64());
    expect(
      codeOf(() => {
        mistaken.expectMatch(key.publicKey);
      }),
    ).toBe('wrong-key');
    expect(
      codeOf(() => {
        mistaken.expectMatch(BackupDecryptionKey.generate().publicKey);
      }),
    ).toBe('nothing was thrown');
    const highBit = key.publicKey.toBytes();
    highBit[31] |= 0x80;
    expect(
      codeOf(() => {
        mistaken.expectMatch(BackupPublicKey.fromBytes(highBit));
      }),
    ).toBe('wrong-key');
  });

  test('is equal to the same key only', () => {
    const again = BackupMacKey.fromBase64(macKey.toBase64());
    expect(macKey.equals(BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate()))).toBe(false);
    expect([macKey.equals(again), again.equals(macKey)]).toEqual([true, true]);
    again.dispose();
    expect(codeOf(() => macKey.equals(again))).toBe('bad-parameters');
    expect(codeOf(() => again.equals(macKey))).toBe('bad-parameters');
    expect(
      codeOf(() => {
        again.expectMatch(key.publicKey);
      }),
    ).toBe('bad-parameters');
  });

  test('goes by the unstable secret while the proposal is open', () => {
    expect(BACKUP_MAC_SECRET).toEqual({
      unstable: 'org.matrix.msc4048.mac',
      stable: 'm.megolm_backup.v1.mac',
    });
  });
});

describe('what a plaintext declares', () => {
  const name = 'org.matrix.msc4048.unauthenticated';

  test('whatever stands there is a declaration; only its absence vouches', () => {
    for (const value of [null, false, 0, '', {}, [], undefined, 'org.example.source', 'm.undefined']) {
      expect(readUnauthenticated({ unauthenticated: value })).toBe('m.undefined');
      expect(readUnauthenticated({ [name]: value })).toBe('m.undefined');
      expect(readUnauthenticated({ unauthenticated: value, [name]: 'm.legacy-v1' })).toBe('m.legacy-v1');
    }
    expect(readUnauthenticated({ [name]: 'm.forwarded_room_key' })).toBe('m.forwarded_room_key');
    expect(readUnauthenticated({})).toBeUndefined();
    expect(readUnauthenticated(Object.create({ unauthenticated: 'm.legacy-v1' }))).toBeUndefined();
  });

  test('a declaration that is there stays unless another comes, which replaces both spellings', () => {
    const session = { room_id: '!r', unauthenticated: 'x', [name]: 'y' };
    expect(withProvenance(session, {})).toBe(session);
    const bound = withProvenance(session, { bindRoomId: true });
    expect(bound).toEqual({ ...session, 'org.megolm-backup.room_id': '!r' });
    expect(withProvenance(session, { source: 'm.legacy-v1' })).toEqual({
      room_id: '!r',
      [name]: 'm.legacy-v1',
    });
    const stable = withProvenance(session, { source: 'm.undefined', names: 'stable' });
    expect(stable).toEqual({ room_id: '!r', unauthenticated: 'm.undefined' });
  });

  test('a copy of a room id that is there goes, and only the true one is written', () => {
    const session = { room_id: '!r', 'org.megolm-backup.room_id': '!other' };
    expect(withProvenance(session, {})).toEqual({ room_id: '!r' });
    expect(withProvenance(session, { bindRoomId: true })).toEqual({
      room_id: '!r',
      'org.megolm-backup.room_id': '!r',
    });
    for (const value of [null, 5, 'text', []])
      expect(withProvenance(value, { bindRoomId: true })).toBe(value);
  });
});

function macKeyBytes(of: BackupMacKey): Buffer {
  return Buffer.from(of.toBase64(), 'base64');
}

test('what is longer than 256 characters is not decoded', () => {
  const message = (length: number) => refusal(() => BackupMacKey.fromBase64('A'.repeat(length))).message;
  expect(message(256)).toBe('backup MAC key: expected 32 bytes, got 192 bytes');
  expect(message(257)).toBe('backup MAC key: expected base64 of 32 bytes, got 257 characters');
  for (const text of [5, null]) expect(codeOf(() => BackupMacKey.fromBase64(text as never))).toBe('bad-json');
});

test('a record has a MAC under either name, whatever it is, and only in unsigned', () => {
  for (const unsigned of [{ [UNSTABLE]: null }, { backup_mac: 5 }, { backup_mac: '', [UNSTABLE]: '' }]) {
    expect(hasBackupMac({ ...sealed, unsigned })).toBe(true);
  }
  for (const unsigned of [undefined, null, 'text', [], {}, { mac: 'x' }]) {
    expect(hasBackupMac({ ...sealed, unsigned })).toBe(false);
  }
  expect(hasBackupMac({ ...sealed, backup_mac: 'x' })).toBe(false);
});

test('the same decryption key gives the same MAC key', () => {
  const bytes = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.fromBytes(key.toBytes()));
  expect(bytes.toBase64()).toBe(macKey.toBase64());
  expect(bytes.mac(sealed)).toEqual(macKey.mac(sealed));
});

const UNAUTHENTICATED = 'org.matrix.msc4048.unauthenticated';
const declared = { room_id: '!r', unauthenticated: 'm.legacy-v1', [UNAUTHENTICATED]: 'm.undefined' };

describe('a session with another provenance', () => {
  test('is the session itself where nothing changes, and anything but a session stays as it is', () => {
    expect(withProvenance(declared, {})).toBe(declared);
    for (const value of [null, 'text', 5, undefined]) {
      expect(withProvenance(value, { source: 'm.undefined' })).toBe(value);
    }
  });

  test('loses the copy of a room id that it brought along, and keeps what it declared', () => {
    const result = withProvenance({ ...declared, [ROOM_ID_COPY]: '!other' }, {});
    expect(Object.entries(result)).toEqual(Object.entries(declared));
  });

  test('declares what it is told, once, instead of what it brought along', () => {
    expect(Object.entries(withProvenance(declared, { source: 'm.forwarded_room_key' }))).toEqual([
      ['room_id', '!r'],
      [UNAUTHENTICATED, 'm.forwarded_room_key'],
    ]);
    expect(Object.entries(withProvenance(declared, { source: 'm.legacy-v1', names: 'stable' }))).toEqual([
      ['room_id', '!r'],
      ['unauthenticated', 'm.legacy-v1'],
    ]);
  });

  test('has the copy where every other version looks for it', () => {
    expect(ROOM_ID_COPY).toBe('org.megolm-backup.room_id');
  });

  test('carries its room id where it is told to', () => {
    const session = { room_id: '!r', [ROOM_ID_COPY]: '!other' };
    expect(Object.entries(withProvenance(session, { bindRoomId: true }))).toEqual([
      ['room_id', '!r'],
      [ROOM_ID_COPY, '!r'],
    ]);
  });
});

describe('a declaration', () => {
  test.each<[Record<string, unknown>, string | undefined]>([
    [{}, undefined],
    [{ unauthenticated: null }, 'm.undefined'],
    [{ [UNAUTHENTICATED]: false }, 'm.undefined'],
    [{ [UNAUTHENTICATED]: 'm.legacy-v1' }, 'm.legacy-v1'],
    [{ unauthenticated: 'm.forwarded_room_key' }, 'm.forwarded_room_key'],
    [{ unauthenticated: 'anything', [UNAUTHENTICATED]: 'm.legacy-v1' }, 'm.legacy-v1'],
    [{ unauthenticated: 'm.undefined' }, 'm.undefined'],
  ])('of %j reads as %s', (plaintext, source) => {
    expect(readUnauthenticated(plaintext)).toBe(source);
  });
});

import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { x25519 } from '@noble/curves/ed25519.js';
import { describe, expect, it } from 'vitest';
import { BackupDecryptionKey, BackupPublicKey, type SessionData } from '../../src/index.js';
import {
  MAX_PLAINTEXT_BYTES,
  decryptSessionData,
  encryptSessionData,
  readRoomKey,
} from '../../src/engine.js';
import {
  deriveKeys,
  encryptWithEphemeral,
  parseSessionData,
  unpaddedLength,
} from '../../src/scheme/session-data.js';
import {
  LOW_ORDER_POINTS,
  anyJson,
  anyText,
  base64,
  blocksIn,
  bytes32,
  endsInPkcs7,
  forge,
  nonCanonical,
  pad,
  refusal,
  roomKey,
  total,
  withBitFlipped,
  withHighBit,
} from '../support/samples.js';
import { runs } from '../support/runs.js';

const PRIVATE = new Uint8Array(32).fill(0x42);
const key = BackupDecryptionKey.fromBytes(PRIVATE);
const recipient = key.publicKey.toBytes();
const unbase64 = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

/** Both readings of one `session_data`: a code, or the plaintext with its flags. */
function readings(sessionData: unknown): { strict: unknown; salvage: unknown } {
  const read = (salvage: boolean) => {
    const outcome = total(() => decryptSessionData(sessionData, key, { salvage }));
    if (outcome instanceof Error) return outcome.code;
    return [Buffer.from(outcome.plaintext).toString('latin1'), ...outcome.flags];
  };
  return { strict: read(false), salvage: read(true) };
}

const accepted = { strict: ['text'], salvage: ['text'] };
const refused = (code: string) => ({ strict: code, salvage: code });

const text = new TextEncoder().encode('text');
const valid = (): SessionData => forge(recipient).withPlaintext(text);

describe('round trips', () => {
  it('hold for any bytes', () => {
    fc.assert(
      fc.property(bytes32, fc.uint8Array({ maxLength: 400 }), (privateKey, plaintext) => {
        const key = BackupDecryptionKey.fromBytes(privateKey);
        const opened = decryptSessionData(encryptSessionData(plaintext, key.publicKey), key);
        expect(opened.plaintext.join()).toBe(plaintext.join());
        expect(opened.flags).toEqual([]);
      }),
    );
  });

  it('hold for every length of padding, and for the longest plaintext', () => {
    for (const length of [...Array(49).keys(), 65536, MAX_PLAINTEXT_BYTES - 1, MAX_PLAINTEXT_BYTES]) {
      const plaintext = new Uint8Array(length).fill(length);
      const sessionData = encryptSessionData(plaintext, key.publicKey);
      expect(unbase64(sessionData.ciphertext)).toHaveLength(length - (length % 16) + 16);
      const { plaintext: opened } = decryptSessionData(sessionData, key);
      expect(Buffer.compare(opened, plaintext)).toBe(0);
    }
  });

  it('come out of Buffers as plain arrays', () => {
    const { plaintext } = decryptSessionData(encryptSessionData(Buffer.from('abc'), key.publicKey), key);
    expect(Object.getPrototypeOf(plaintext)).toBe(Uint8Array.prototype);
    expect(plaintext.buffer.byteLength).toBe(3);
  });
});

describe('encryption', () => {
  it('has the wire’s lengths and another ephemeral each time', () => {
    const all = Array.from({ length: 30 }, () => encryptSessionData(text, key.publicKey));
    for (const { ephemeral, mac } of all) {
      expect(ephemeral).toMatch(/^[A-Za-z0-9+/]{43}$/);
      expect(mac).toMatch(/^[A-Za-z0-9+/]{11}$/);
    }
    expect(new Set(all.map(({ ephemeral }) => ephemeral)).size).toBe(30);
  });

  it('is the scheme step by step, the MAC over the empty string included', () => {
    fc.assert(
      fc.property(bytes32, fc.uint8Array({ maxLength: 100 }), (ephemeral, plaintext) => {
        const forged = forge(recipient, ephemeral).withPlaintext(plaintext);
        expect(encryptWithEphemeral(plaintext, key.publicKey, Uint8Array.from(ephemeral))).toEqual(forged);
      }),
    );
  });

  it('wipes the ephemeral key it was given, also when it fails', () => {
    const ephemeral = randomBytes(32);
    encryptWithEphemeral(text, key.publicKey, ephemeral);
    expect(ephemeral.every((byte) => byte === 0)).toBe(true);
  });

  it('goes to a key with bit 255 or a non-canonical u', () => {
    const spelled = BackupPublicKey.fromBytes(withHighBit(recipient));
    expect([...decryptSessionData(encryptSessionData(text, spelled), key).plaintext]).toEqual([...text]);
    const odd = BackupPublicKey.fromBytes(nonCanonical(9n));
    expect(encryptSessionData(text, odd).ephemeral).toHaveLength(43);
  });

  it.each([
    [new Uint8Array(MAX_PLAINTEXT_BYTES + 1), 'too-large'],
    ['text', 'bad-parameters'],
    [undefined, 'bad-parameters'],
    [[1], 'bad-parameters'],
  ])('refuses %.20s', (plaintext, code) => {
    expect(refusal(() => encryptSessionData(plaintext as Uint8Array, key.publicKey)).code).toBe(code);
  });

  it('needs an ephemeral key of 32 bytes', () => {
    const short = () => encryptWithEphemeral(text, key.publicKey, new Uint8Array(31));
    expect(refusal(short).code).toBe('bad-length');
  });
});

describe('flipped bits', () => {
  const sessionData = valid();
  const ephemeral = unbase64(sessionData.ephemeral);
  const mac = unbase64(sessionData.mac);

  it('any of the 255 of the ephemeral fails, and bit 255 changes nothing', () => {
    for (let bit = 0; bit < 255; bit++) {
      const flipped = { ...sessionData, ephemeral: base64(withBitFlipped(ephemeral, bit)) };
      expect(readings(flipped)).toEqual(refused('mac-mismatch'));
    }
    expect(readings({ ...sessionData, ephemeral: base64(withBitFlipped(ephemeral, 255)) })).toEqual(accepted);
  });

  it('any of the 64 of the MAC fails', () => {
    for (let bit = 0; bit < 64; bit++) {
      const flipped = { ...sessionData, mac: base64(withBitFlipped(mac, bit)) };
      expect(readings(flipped)).toEqual(refused('mac-mismatch'));
    }
  });
});

describe('a damaged ciphertext', () => {
  const session = roomKey();
  const plaintext = new TextEncoder().encode(JSON.stringify({ ...session, room_id: undefined }));
  const sessionData = forge(recipient).withPlaintext(plaintext);
  const ciphertext = unbase64(sessionData.ciphertext);

  /** Reads it at both levels, and says whether the bytes were accepted. */
  function read(damaged: Uint8Array): boolean {
    const record = { ...sessionData, ciphertext: base64(damaged) };
    const outcome = total(() => decryptSessionData(record, key));
    const blocks = blocksIn(PRIVATE, sessionData.ephemeral, damaged);
    if (outcome instanceof Error) {
      expect(outcome.code).toBe('bad-padding');
      expect(endsInPkcs7(blocks)).toBe(false);
      return false;
    }
    expect(endsInPkcs7(blocks)).toBe(true);
    expect(outcome.flags).toEqual([]);
    const restored = total(() => readRoomKey(outcome.plaintext, '!r', session.session_id));
    // What still reads is the key of this very session: the damage hit a field that nothing proves.
    if (!(restored instanceof Error)) {
      expect(base64(unbase64(restored.session.session_key).subarray(133))).toBe(session.session_id);
    }
    return true;
  }

  it('is accepted exactly when its PKCS#7 is valid: every bit of the last two blocks', () => {
    for (let bit = 8 * (ciphertext.length - 32); bit < 8 * ciphertext.length; bit++) {
      read(withBitFlipped(ciphertext, bit));
    }
  });

  it('is accepted exactly when its PKCS#7 is valid: random blocks appended, cut off, swapped', () => {
    let taken = 0;
    const tries = runs(3000);
    for (let i = 0; i < tries; i++) {
      if (read(Uint8Array.of(...ciphertext.subarray(0, 32), ...randomBytes(16)))) taken++;
    }
    // One in 256, nearly: at least one of 3,000 with all but certainty, and far from all.
    if (tries === 3000) expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(60);
    for (let end = 16; end < ciphertext.length; end += 16) read(ciphertext.subarray(0, end));
    for (let at = 0; at + 32 <= ciphertext.length; at += 16) {
      const swapped = Uint8Array.from(ciphertext);
      swapped.copyWithin(at, at + 16, at + 32);
      swapped.set(ciphertext.subarray(at, at + 16), at + 16);
      read(swapped);
    }
  });

  it('never gives a room key of the right session id whose session key has another one', () => {
    fc.assert(
      fc.property(fc.nat({ max: 8 * ciphertext.length - 1 }), (bit) => {
        read(withBitFlipped(ciphertext, bit));
      }),
      { numRuns: runs(500) },
    );
  });
});

describe('what the peers accept and what we do', () => {
  it('a valid one', () => {
    expect(readings(valid())).toEqual(accepted);
  });

  it('a MAC over the ciphertext', () => {
    const forged = forge(recipient);
    const sessionData = forged.withPlaintext(text);
    const mac = base64(forged.macOf(unbase64(sessionData.ciphertext)).subarray(0, 8));
    expect(readings({ ...sessionData, mac })).toEqual(refused('mac-mismatch'));
  });

  it('a MAC of another key', () => {
    const other = forge(BackupDecryptionKey.generate().publicKey.toBytes()).withPlaintext(text);
    expect(readings(other)).toEqual(refused('mac-mismatch'));
    expect(readings({ ...valid(), mac: other.mac })).toEqual(refused('mac-mismatch'));
  });

  it('a MAC of another length', () => {
    const forged = forge(recipient);
    for (let length = 0; length <= 32; length++) {
      const sessionData = { ...forged.withPlaintext(text), mac: base64(forged.wholeMac.subarray(0, length)) };
      const salvage = length === 0 ? 'bad-mac-length' : ['text', 'mac-length'];
      expect(readings(sessionData)).toEqual(length === 8 ? accepted : { strict: 'bad-mac-length', salvage });
      if (length === 0) continue;
      const wrong = withBitFlipped(forged.wholeMac.subarray(0, length), 8 * length - 1);
      expect(readings({ ...sessionData, mac: base64(wrong) })).toEqual({
        strict: length === 8 ? 'mac-mismatch' : 'bad-mac-length',
        salvage: 'mac-mismatch',
      });
    }
    const long = base64(Buffer.concat([forged.wholeMac, Buffer.alloc(1)]));
    expect(readings({ ...valid(), mac: long })).toEqual(refused('bad-mac-length'));
    expect(readings({ ...valid(), mac: 'A'.repeat(10_000) })).toEqual(refused('bad-mac-length'));
  });

  it('padded base64', () => {
    const padded = Object.fromEntries(
      Object.entries(valid()).map(([name, value]) => [name, Buffer.from(value, 'base64').toString('base64')]),
    );
    expect(padded.mac).toContain('=');
    expect(readings(padded)).toEqual(accepted);
  });

  it('non-zero trailing bits', () => {
    const sessionData = valid();
    const next = (base64: string) => {
      const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
      return base64.slice(0, -1) + alphabet.charAt(alphabet.indexOf(base64.slice(-1)) + 1);
    };
    const { ephemeral, mac, ciphertext } = sessionData;
    expect(readings({ ephemeral: next(ephemeral), mac: next(mac), ciphertext: next(ciphertext) })).toEqual(
      accepted,
    );
  });

  it.each(['-', '_', ' ', '\n', '*', '\0', 'é', '='])('%j in base64', (junk) => {
    for (const name of ['ephemeral', 'mac', 'ciphertext'] as const) {
      for (const at of [0, 5]) {
        const sessionData = { ...valid() };
        sessionData[name] = sessionData[name].slice(0, at) + junk + sessionData[name].slice(at + 1);
        expect(readings(sessionData)).toEqual(refused('bad-base64'));
      }
    }
  });

  it('an ephemeral that is not 32 bytes', () => {
    for (const length of [0, 1, 31, 33, 45, 64, 192, 300]) {
      expect(readings({ ...valid(), ephemeral: base64(new Uint8Array(length).fill(9)) })).toEqual(
        refused('bad-length'),
      );
    }
  });

  it('a filler that is not PKCS#7', () => {
    const blocks = (...last: number[]) => {
      const whole = new Uint8Array(32).fill(0x61);
      whole.set(last, 32 - last.length);
      return readings(forge(recipient).withBlocks(whole));
    };
    const a = (count: number) => 'a'.repeat(count);
    expect(blocks(0)).toEqual({ strict: 'bad-padding', salvage: [`${a(31)}\0`, 'padding'] });
    expect(blocks(17)).toEqual({ strict: 'bad-padding', salvage: [a(15), 'padding'] });
    expect(blocks(32)).toEqual({ strict: 'bad-padding', salvage: ['', 'padding'] });
    expect(blocks(33)).toEqual(refused('bad-padding'));
    expect(blocks(255)).toEqual(refused('bad-padding'));
    expect(blocks(2)).toEqual({ strict: 'bad-padding', salvage: [a(30), 'padding'] });
    expect(blocks(3, 2, 3)).toEqual({ strict: 'bad-padding', salvage: [a(29), 'padding'] });
    expect(blocks(1)).toEqual({ strict: [a(31)], salvage: [a(31)] });
    expect(blocks(...Array<number>(16).fill(16))).toEqual({ strict: [a(16)], salvage: [a(16)] });
  });

  it('a filler with any one byte wrong', () => {
    for (let filler = 2; filler <= 16; filler++) {
      for (let wrong = 2; wrong <= filler; wrong++) {
        const blocks = Uint8Array.from(pad(new Uint8Array(32 - filler)));
        blocks[32 - wrong] ^= 0x40;
        expect(readings(forge(recipient).withBlocks(blocks)).strict).toBe('bad-padding');
      }
    }
  });

  it('a ciphertext that is empty or no whole blocks', () => {
    const { ciphertext } = valid();
    for (const length of [0, 1, 8, 15, 17, 31, 33]) {
      const other = base64(new Uint8Array(length));
      expect(readings({ ...valid(), ciphertext: other })).toEqual(refused('bad-ciphertext-length'));
    }
    expect(readings({ ...valid(), ciphertext: ciphertext.slice(0, -2) })).toEqual(
      refused('bad-ciphertext-length'),
    );
  });

  it('an ephemeral of low order, in all fourteen encodings', () => {
    for (const point of LOW_ORDER_POINTS) {
      expect(readings({ ...valid(), ephemeral: base64(point) })).toEqual(refused('low-order-key'));
    }
  });

  it('an ephemeral with bit 255, or non-canonical', () => {
    const sessionData = valid();
    const high = base64(withHighBit(unbase64(sessionData.ephemeral)));
    expect(readings({ ...sessionData, ephemeral: high })).toEqual(accepted);
    // p + 9 stands for 9, the base point: an ephemeral key whose private key does not matter.
    const canonical = x25519.getSharedSecret(
      PRIVATE,
      unbase64('CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'),
    );
    expect(base64(canonical)).toBe(base64(recipient));
    for (const u of [nonCanonical(9n), withHighBit(nonCanonical(9n))]) {
      expect(readings({ ...sessionData, ephemeral: base64(u) })).toEqual(refused('mac-mismatch'));
    }
  });

  it('anything missing, or not a string', () => {
    for (const name of ['ephemeral', 'mac', 'ciphertext']) {
      expect(readings({ ...valid(), [name]: undefined })).toEqual(refused('missing-field'));
      for (const value of [null, 1, [], {}, true, new Uint8Array(32)]) {
        expect(readings({ ...valid(), [name]: value })).toEqual(refused('bad-json'));
      }
    }
    for (const value of [undefined, null, [], 'text', 1])
      expect(readings(value)).toEqual(refused('bad-json'));
    const inherited: unknown = Object.create(valid());
    expect(readings(inherited)).toEqual(refused('missing-field'));
  });
});

describe('bounds', () => {
  it('refuse 100 MB of ciphertext before decoding it', () => {
    // Not base64: decoding would say so.
    const ciphertext = '*'.repeat(100_000_000);
    expect(readings({ ...valid(), ciphertext })).toEqual(refused('too-large'));
  });

  it('refuse 100 MB of ephemeral and MAC before decoding them', () => {
    const huge = '*'.repeat(100_000_000);
    expect(readings({ ...valid(), ephemeral: huge })).toEqual(refused('bad-length'));
    expect(readings({ ...valid(), mac: huge })).toEqual(refused('bad-mac-length'));
  });

  it('lie where they are said to lie', () => {
    const most = Math.ceil(((MAX_PLAINTEXT_BYTES + 16) / 3) * 4) + 2;
    expect(readings({ ...valid(), ciphertext: 'A'.repeat(most) })).toEqual(refused('bad-base64'));
    expect(readings({ ...valid(), ciphertext: 'A'.repeat(most + 1) })).toEqual(refused('too-large'));
    const message = (length: number) =>
      refusal(() => parseSessionData({ ...valid(), ephemeral: 'A'.repeat(length) })).message;
    expect(message(256)).toBe('session_data.ephemeral: expected 32 bytes, got 192 bytes');
    expect(message(257)).toBe('session_data.ephemeral: expected base64 of 32 bytes, got 257 characters');
  });

  it('let the longest ciphertext pass, padded or not, and no longer one', () => {
    const longest = base64(new Uint8Array(MAX_PLAINTEXT_BYTES + 16));
    const parse = (ciphertext: string) => total(() => parseSessionData({ ...valid(), ciphertext }));
    expect(parse(longest)).not.toBeInstanceOf(Error);
    expect(parse(Buffer.alloc(MAX_PLAINTEXT_BYTES + 16).toString('base64'))).not.toBeInstanceOf(Error);
    expect(parse(base64(new Uint8Array(MAX_PLAINTEXT_BYTES + 32)))).toMatchObject({ code: 'too-large' });
  });
});

describe('reading', () => {
  it('is total over JSON and texts', () => {
    fc.assert(
      fc.property(anyJson, anyText, anyText, anyText, (json, ephemeral, mac, ciphertext) => {
        total(() => decryptSessionData(json, key));
        total(() => decryptSessionData({ ephemeral, mac, ciphertext }, key, { salvage: true }));
        total(() => decryptSessionData({ ...valid(), ciphertext }, key));
        total(() => decryptSessionData({ ...valid(), mac }, key, { salvage: true }));
        total(() => decryptSessionData({ ...valid(), ephemeral: json }, key));
      }),
    );
  });

  it('salvages only when told true', () => {
    const forged = forge(recipient);
    const short = { ...forged.withPlaintext(text), mac: base64(forged.wholeMac.subarray(0, 4)) };
    for (const salvage of [undefined, false, 1, 'true', {}] as boolean[]) {
      expect(refusal(() => decryptSessionData(short, key, { salvage })).code).toBe('bad-mac-length');
    }
  });

  it('accepts the same padding as the standard', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 48 }), fc.integer({ min: 0, max: 20 }), (start, filler) => {
        const blocks = Uint8Array.of(...start, ...Array<number>(filler).fill(filler));
        fc.pre(blocks.length > 0);
        const length = unpaddedLength(blocks);
        expect(length !== undefined).toBe(endsInPkcs7(blocks));
        if (length !== undefined) expect(length).toBe(blocks.length - blocks[blocks.length - 1]);
      }),
    );
  });
});

describe('the derived keys', () => {
  it('are HKDF-SHA-256 and the HMAC of nothing, as node:crypto has them, however many came before', () => {
    fc.assert(
      fc.property(fc.array(bytes32, { minLength: 1, maxLength: 5 }), (secrets) => {
        const derived = secrets.map(deriveKeys);
        secrets.forEach((secret, i) => {
          const all = Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(32), '', 80));
          expect(derived[i].aesKey.join()).toBe(all.subarray(0, 32).join());
          expect(derived[i].iv.join()).toBe(all.subarray(64).join());
          const mac = createHmac('sha256', all.subarray(32, 64)).digest();
          expect(derived[i].mac.join()).toBe(mac.join());
        });
      }),
    );
  });

  it('share memory with nothing else, all of it behind `all`', () => {
    const [one, two] = [1, 2].map((byte) => deriveKeys(new Uint8Array(32).fill(byte)));
    const before = two.aesKey.join();
    one.all.fill(0);
    for (const part of [one.aesKey, one.iv, one.mac]) expect(part.every((byte) => byte === 0)).toBe(true);
    expect(two.aesKey.join()).toBe(before);
    expect(two.aesKey).toHaveLength(32);
  });
});

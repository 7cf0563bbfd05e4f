import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BackupDecryptionKey,
  createAuthData,
  decryptSession,
  ed25519Signer,
  encryptSession,
  encryptSessionsSync,
  signAuthData,
  verifyAuthData,
} from '../../src/index.js';
import { canonicalJson, decryptSessionData, encryptSessionData, prepareRoomKey } from '../../src/engine.js';
import { isSignedBy } from '../../src/curve25519/ed25519.js';
import { libolm, vodozemac } from '../support/peers.js';
import { anyCharacter, base64, blocksIn, bytes32, forge, roomKey, total } from '../support/samples.js';
import { runs } from '../support/runs.js';

/** Live against the two deployed implementations, on cases that are new in every run. */

const [olm, vodo] = [await libolm(), await vodozemac()];
const RUNS = { numRuns: runs(200) };
/** libolm ends a text at U+0000. */
const text = fc.string({ unit: anyCharacter, maxLength: 300 }).map((text) => text.replaceAll('\0', ''));
const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

describe.each([olm, vodo])('$name', (peer) => {
  it('derives the same public key', () => {
    fc.assert(
      fc.property(bytes32, (privateKey) => {
        const { publicKey } = BackupDecryptionKey.fromBytes(privateKey);
        expect(publicKey.toBase64()).toBe(peer.publicKeyOf(privateKey));
      }),
      RUNS,
    );
  });

  it('reads what we write', () => {
    fc.assert(
      fc.property(bytes32, text, (privateKey, text) => {
        const { publicKey } = BackupDecryptionKey.fromBytes(privateKey);
        expect(peer.decrypt(privateKey, encryptSessionData(encode(text), publicKey))).toBe(text);
      }),
      RUNS,
    );
  });

  it('writes what we read', () => {
    fc.assert(
      fc.property(bytes32, text, (privateKey, text) => {
        const key = BackupDecryptionKey.fromBytes(privateKey);
        const opened = decryptSessionData(peer.encrypt(key.publicKey.toBase64(), text), key);
        expect(decode(opened.plaintext)).toBe(text);
        expect(opened.flags).toEqual([]);
      }),
      RUNS,
    );
  });

  it('reads the records of a batch', () => {
    const key = BackupDecryptionKey.generate();
    const sessions = Array.from({ length: 200 }, (_, i) =>
      roomKey({ 'é😀': '\ud83d\ude00'.repeat(i % 9) }, i),
    );
    for (const [i, result] of encryptSessionsSync(sessions, key.publicKey).entries()) {
      if (!result.ok) throw result.error;
      const read = JSON.parse(peer.decrypt(key.toBytes(), result.key_backup_data.session_data)) as object;
      const { room_id: _room, session_id: _session, ...expected } = sessions[i];
      expect(read).toEqual(expected);
    }
  });
});

it('vodozemac and we exchange any bytes, at any length of padding', () => {
  fc.assert(
    fc.property(bytes32, fc.uint8Array({ maxLength: 100 }), (privateKey, plaintext) => {
      const key = BackupDecryptionKey.fromBytes(privateKey);
      const ours = encryptSessionData(plaintext, key.publicKey);
      expect(vodo.decryptBytes(privateKey, ours).join()).toBe(plaintext.join());
      const theirs = vodo.encryptBytes(key.publicKey.toBase64(), plaintext);
      expect(decryptSessionData(theirs, key).plaintext.join()).toBe(plaintext.join());
    }),
    RUNS,
  );
});

it('a damaged ciphertext is judged as vodozemac judges it, and salvaged as libolm reads it', () => {
  const key = BackupDecryptionKey.generate();
  const privateKey = key.toBytes();
  const read = <T>(call: () => T): T | undefined => {
    try {
      return call();
    } catch {
      return undefined;
    }
  };
  let [damaged, salvaged] = [0, 0];
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat({ max: 40 }), (last, filler) => {
      // Printable text, and a last block whose last byte is often a filler of some peer's liking.
      const blocks = Uint8Array.of(
        ...new Uint8Array(32).fill(0x61),
        ...last.map((byte) => 0x61 + (byte % 26)),
      );
      blocks[47] = filler;
      const sessionData = forge(key.publicKey.toBytes()).withBlocks(blocks);
      expect(
        blocksIn(privateKey, sessionData.ephemeral, Buffer.from(sessionData.ciphertext, 'base64')),
      ).toEqual(blocks);
      const strict = total(() => decryptSessionData(sessionData, key));
      const theirs = read(() => vodo.decryptBytes(privateKey, sessionData));
      expect(strict instanceof Error ? undefined : strict.plaintext.join()).toBe(theirs?.join());
      const salvage = total(() => decryptSessionData(sessionData, key, { salvage: true }));
      const olms = read(() => olm.decrypt(privateKey, sessionData));
      expect(salvage instanceof Error ? undefined : decode(salvage.plaintext).split('\0')[0]).toBe(olms);
      damaged++;
      if (strict instanceof Error && !(salvage instanceof Error)) salvaged++;
    }),
    { numRuns: runs(500) },
  );
  expect(damaged).toBe(runs(500));
  expect(salvaged).toBeGreaterThan(runs(500) * 0.4);
});

it('real sessions of libolm go in and come back, at any index', () => {
  const key = BackupDecryptionKey.generate();
  for (let i = 0; i < 50; i++) {
    const indexes = [0, 1, 255, 256, 65_536 + i];
    const { session_id, session_keys } = olm.megolmSession(...indexes);
    const { curve25519, ed25519 } = olm.device();
    for (const [at, session_key] of session_keys.entries()) {
      const session = roomKey({
        session_key,
        session_id,
        sender_key: curve25519,
        sender_claimed_keys: { ed25519 },
      });
      expect(prepareRoomKey(session).first_message_index).toBe(indexes[at]);
      const record = encryptSession(session, key.publicKey);
      expect(decryptSession(record, key).session).toEqual(session);
      const read = JSON.parse(vodo.decryptV1(key.toBytes(), record.key_backup_data.session_data)) as object;
      expect(read).toMatchObject({ session_key });
    }
  }
});

it('signatures hold on both sides', () => {
  const userId = '@a:example.org';
  fc.assert(
    fc.property(bytes32, fc.dictionary(text, fc.oneof(text, fc.maxSafeInteger())), (seed, extra) => {
      const { signatures: _signatures, unsigned: _unsigned, ...fields } = extra;
      const authData = createAuthData(BackupDecryptionKey.generate().publicKey, fields);
      const message = canonicalJson(authData);
      const ours = signAuthData(authData, [ed25519Signer(userId, seed, 'D')]).signatures?.[userId][
        'ed25519:D'
      ];
      const { publicKey, signature } = olm.sign(seed, message);
      expect(ours).toBe(signature);
      expect(olm.verifies(publicKey, message, signature)).toBe(true);
      const verdict = verifyAuthData(
        { ...authData, signatures: { [userId]: { 'ed25519:D': signature } } },
        { userId, trustedKeys: [{ keyId: 'ed25519:D', publicKey }] },
      );
      expect(verdict).toMatchObject({ trusted: true, by: 'signature' });
      const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
      expect(isSignedBy(bytes(publicKey), encode(message), bytes(signature))).toBe(true);
      expect(base64(bytes(publicKey))).toBe(publicKey);
    }),
    RUNS,
  );
});

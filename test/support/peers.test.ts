import { randomBytes } from 'node:crypto';
import olm from '@matrix-org/olm';
import * as sdk from '@matrix-org/matrix-sdk-crypto-wasm';
import { describe, expect, it, vi } from 'vitest';
import { libolm, vodozemac, type Peer } from './peers.js';

const EVENTS = ['uncaughtException', 'unhandledRejection'] as const;

describe('the peers', () => {
  it('leave no handlers behind that would swallow or rethrow other errors', async () => {
    const before = EVENTS.map((event) => (process as NodeJS.EventEmitter).listeners(event));
    await libolm();
    await vodozemac();
    expect(EVENTS.map((event) => (process as NodeJS.EventEmitter).listeners(event))).toEqual(before);
  });

  it('read each other', async () => {
    const peers: Peer[] = [await libolm(), await vodozemac()];
    for (const writer of peers) {
      for (const reader of peers) {
        const privateKey = new Uint8Array(randomBytes(32));
        const publicKey = writer.publicKeyOf(privateKey);
        expect(publicKey).toBe(reader.publicKeyOf(privateKey));
        const sessionData = writer.encrypt(publicKey, 'ключ 🔑');
        expect(reader.decrypt(privateKey, sessionData)).toBe('ключ 🔑');
        expect(() => reader.decrypt(new Uint8Array(randomBytes(32)), sessionData)).toThrow();
      }
    }
  });

  it('vodozemac reads and writes bytes', async () => {
    const peer = await vodozemac();
    const privateKey = new Uint8Array(randomBytes(32));
    const plaintext = Uint8Array.of(0, 255, 128, 0);
    const sessionData = peer.encryptBytes(peer.publicKeyOf(privateKey), plaintext);
    expect(peer.decryptBytes(privateKey, sessionData)).toEqual(plaintext);
    expect(peer.decryptV1(privateKey, peer.encrypt(peer.publicKeyOf(privateKey), 'text'))).toBe('text');
  });

  it('libolm exports sessions and signs', async () => {
    const peer = await libolm();
    const { session_id, session_keys } = peer.megolmSession(0, 65_536);
    for (const [i, index] of [0, 65_536].entries()) {
      const bytes = Buffer.from(session_keys[i], 'base64');
      expect([bytes.length, bytes[0], bytes.readUInt32BE(1)]).toEqual([165, 1, index]);
      expect(bytes.subarray(133).toString('base64').replace(/=+$/, '')).toBe(session_id);
    }
    const { publicKey, signature } = peer.sign(new Uint8Array(randomBytes(32)), 'text');
    expect(peer.verifies(publicKey, 'text', signature)).toBe(true);
    expect(peer.verifies(publicKey, 'another', signature)).toBe(false);
    expect(peer.device().curve25519).toMatch(/^[A-Za-z0-9+/]{43}$/);
  });

  it('free what they allocate, also when they throw', async () => {
    const peers = [await libolm(), await vodozemac()];
    const frees = [olm.PkDecryption.prototype, sdk.PkDecryption.prototype].map((type) =>
      vi.spyOn(type, 'free'),
    );
    const privateKey = new Uint8Array(randomBytes(32));
    const sessionData = peers[0].encrypt(peers[0].publicKeyOf(privateKey), 'text');
    for (const [i, peer] of peers.entries()) {
      frees[i].mockClear();
      peer.decrypt(privateKey, sessionData);
      expect(() => peer.decrypt(privateKey, { ...sessionData, mac: 'AAAAAAAAAAA' })).toThrow();
      expect(frees[i]).toHaveBeenCalledTimes(2);
      frees[i].mockRestore();
    }
  });
});

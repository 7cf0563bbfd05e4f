import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { hasSimd, simdBackend } from '../../../src/backends/simd/index.js';
import { BackupDecryptionKey } from '../../../src/scheme/keys.js';
import { parseSessionData } from '../../../src/scheme/session-data.js';
import { libolm, vodozemac } from '../../support/peers.js';
import { enableRelaxedSimd } from '../../support/platforms.js';

enableRelaxedSimd();

/** Enough for tables, and in the middle a text that another AES takes. */
const TEXTS = Array.from({ length: 101 }, (_, i) => `${'x'.repeat(i === 50 ? 3000 : i + 1)}, text ${i}`);

test.each([await libolm(), await vodozemac()])('chunks go to $name and come from it', async (peer) => {
  expect(await hasSimd()).toBe(true);
  const backend = simdBackend();
  const privateKey = new Uint8Array(randomBytes(32));
  const { publicKey } = BackupDecryptionKey.fromBytes(privateKey);
  const plaintexts = TEXTS.map((text) => new TextEncoder().encode(text));
  const sealed = await backend.encryptMany(publicKey.toBytes(), plaintexts, {});
  expect(sealed.map((data) => peer.decrypt(privateKey, data))).toEqual(TEXTS);

  const theirs = TEXTS.map((text) => peer.encrypt(publicKey.toBase64(), text));
  const parsed = theirs.map((data) => parseSessionData(data));
  const opened = await backend.decryptMany(privateKey, parsed, {});
  const texts = opened.map((one) =>
    'plaintext' in one ? new TextDecoder().decode(one.plaintext) : one.code,
  );
  expect(texts).toEqual(TEXTS);
});

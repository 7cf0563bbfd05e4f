import { createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import { x25519 } from '@noble/curves/ed25519.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { decryptSessionData, encryptWithEphemeral } from '../../src/scheme/session-data.js';
import { claim, claimEqual, jsonOf, textOf, words, type Target } from '../target.js';

const CODES = [
  'bad-json',
  'missing-field',
  'bad-base64',
  'bad-length',
  'bad-mac-length',
  'bad-ciphertext-length',
  'too-large',
  'low-order-key',
  'mac-mismatch',
  'bad-padding',
];
const PRIVATE = new Uint8Array(32).fill(0x42);

/** Records under one key, strictly and with salvage, against node:crypto. */
export const sessionDataTarget: Target = {
  name: 'session-data',
  jsonAt: 0,
  words: [
    ...words`
    "ephemeral":" "ciphertext":" "mac":" "mac":"" AAAA = == "unsigned":{} null -
  `,
    'A'.repeat(43),
  ],
  maxLength: 1024,
  seeds: () => {
    const key = BackupDecryptionKey.fromBytes(PRIVATE);
    const of = (length: number) =>
      JSON.stringify(
        encryptWithEphemeral(
          new Uint8Array(length).fill(0x20),
          key.publicKey,
          new Uint8Array(32).fill(length + 1),
        ),
      );
    const low = JSON.stringify({ ...(JSON.parse(of(3)) as object), ephemeral: 'A'.repeat(43) });
    return [of(0), of(5), of(16), of(40), low, '{}', '[]'];
  },
  run(input, seen) {
    const parsed = jsonOf(textOf(input));
    if (!parsed) {
      seen.count('not JSON');
      return;
    }
    const key = BackupDecryptionKey.fromBytes(PRIVATE);
    const strict = seen.allow(CODES, () => decryptSessionData(parsed.value, key));
    const salvaged = seen.allow(CODES, () => decryptSessionData(parsed.value, key, { salvage: true }));
    if (strict) {
      claimEqual(salvaged, strict, 'salvage changes nothing about what reads strictly');
      claimEqual(strict.value.flags, [], 'no flag without salvage');
      claimEqual(Buffer.from(strict.value.plaintext), byNode(parsed.value), 'the plaintext of node:crypto');
    } else if (salvaged) {
      claim(salvaged.value.flags.length > 0, 'what only salvage reads has a flag');
    }
  },
};

function byNode(value: unknown): Buffer {
  const { ephemeral, ciphertext, mac } = value as Record<string, string>;
  const secret = x25519.getSharedSecret(PRIVATE, new Uint8Array(Buffer.from(ephemeral, 'base64')));
  const keys = Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(32), '', 80));
  const expected = createHmac('sha256', keys.subarray(32, 64)).digest().subarray(0, 8);
  claimEqual(Buffer.from(mac, 'base64'), expected, 'the MAC of node:crypto');
  const decipher = createDecipheriv('aes-256-cbc', keys.subarray(0, 32), keys.subarray(64));
  return Buffer.concat([decipher.update(Buffer.from(ciphertext, 'base64')), decipher.final()]);
}

import { createPublicKey, verify } from 'node:crypto';
import { createAuthData, ed25519Signer, signAuthData, verifyAuthData } from '../../src/scheme/auth-data.js';
import { canonicalJson } from '../../src/encoding/canonical-json.js';
import { publicSigningKeyOf } from '../../src/curve25519/ed25519.js';
import { BackupDecryptionKey, BackupPublicKey } from '../../src/scheme/keys.js';
import { claim, claimEqual, jsonOf, textOf, words, type Target } from '../target.js';
import { jsonsOf } from '../corpus.js';

const USER = '@a:e';
const SEED = new Uint8Array(32).fill(0x31);
const SIGNER = ed25519Signer(USER, SEED, 'DEVICE');
const PUBLIC = Buffer.from(publicSigningKeyOf(SEED));
const KEY = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x42));
const TRUSTED = [{ keyId: 'ed25519:DEVICE', publicKey: PUBLIC.toString('base64') }];

/** The verdict over `auth_data`: trust only where node:crypto finds the signature right. */
export const authDataTarget: Target = {
  name: 'auth-data',
  jsonAt: 0,
  words: [
    ...words`
    "public_key":" "signatures":{ "@a:e":{ "ed25519:DEVICE":" "ed25519: "unsigned":{}
    "private_key_salt":"s" "private_key_iterations":500000 "__proto__": 1.5 \ud800 , =
  `,
    'A'.repeat(43),
    'A'.repeat(86),
  ],
  seeds: () => [
    JSON.stringify(signAuthData(createAuthData(KEY.publicKey), [SIGNER, ed25519Signer(USER, SEED)])),
    JSON.stringify(signAuthData(createAuthData(KEY.publicKey, { more: [1, { b: 'ä' }] }), [SIGNER])),
    ...jsonsOf('auth-data', 'auth_data', 900).slice(0, 60),
  ],
  maxLength: 2048,
  run(input, seen) {
    const parsed = jsonOf(textOf(input));
    if (!parsed) {
      seen.count('not JSON');
      return;
    }
    const { value } = parsed;
    const key = seen.allow(['bad-auth-data', 'low-order-key'], () => BackupPublicKey.fromAuthData(value));
    const verdict = verifyAuthData(value, { userId: USER, trustedKeys: TRUSTED });
    seen.count(verdict.trusted ? 'trusted' : 'not trusted');
    if (verdict.trusted)
      claim(key !== undefined && signedByNode(value), 'trusted: node:crypto finds the signature right');
    const held = verifyAuthData(value, { userId: USER, decryptionKey: KEY });
    const matches = key !== undefined && sameKey(key.value.toBytes(), KEY.publicKey.toBytes());
    claimEqual(held.trusted, matches, 'trusted by the key we hold exactly when it is that key');
    const codes = ['bad-auth-data', 'bad-canonical-json'];
    const signed = seen.allow(codes, () => signAuthData(value, [SIGNER]));
    if (!signed) return;
    const again = JSON.parse(JSON.stringify(signed.value)) as unknown;
    const trusted = verifyAuthData(again, { userId: USER, trustedKeys: TRUSTED });
    claimEqual(
      trusted.signatures.find(({ keyId }) => keyId === 'ed25519:DEVICE')?.state,
      'valid-trusted',
      'what is signed is valid',
    );
    claimEqual(trusted.trusted, key !== undefined, 'and trusted where there is a key');
  },
};

function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  const low = (bytes: Uint8Array) => Buffer.from(bytes.map((byte, i) => (i === 31 ? byte & 0x7f : byte)));
  return low(a).equals(low(b));
}

function signedByNode(value: unknown): boolean {
  const {
    signatures,
    unsigned: _unsigned,
    ...covered
  } = value as Record<string, Record<string, Record<string, string>>>;
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), PUBLIC]);
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' });
  const signature = Buffer.from(signatures[USER]['ed25519:DEVICE'], 'base64');
  return verify(null, Buffer.from(canonicalJson(covered)), publicKey, signature);
}

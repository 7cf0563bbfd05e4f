import { describe, expect, it } from 'vitest';
import { createAuthData, ed25519Signer, signAuthData } from '../../src/scheme/auth-data.js';
import { base64Encode } from '../../src/encoding/base64.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { readMasterKey } from '../../src/secret-storage/account-secrets.js';
import { areWiped, secretsSeenIn } from '../support/seen-secrets.js';
import { refusal } from '../support/samples.js';

const USER = '@a:example.org';
const seed = new Uint8Array(32).fill(7);
const authData = createAuthData(BackupDecryptionKey.generate().publicKey);

describe('a signer', () => {
  it('overwrites its key when it is disposed of, and then refuses to sign', async () => {
    const signer = ed25519Signer(USER, seed, 'DEVICE');
    const [bytes] = await secretsSeenIn(() => signAuthData(authData, [signer]));
    expect(bytes).toEqual(seed);
    signer.dispose();
    expect(areWiped([bytes])).toBe(true);
    expect(refusal(() => signAuthData(authData, [signer]))).toMatchObject({
      code: 'bad-parameters',
      message: 'signing key: expected a usable key, got one already disposed',
    });
    signer.dispose();
    expect(seed.every((byte) => byte === 7)).toBe(true);
  });

  it('is disposed of at the end of its block', async () => {
    const seen = await secretsSeenIn(() => {
      using signer = ed25519Signer(USER, seed);
      signAuthData(authData, [signer]);
    });
    expect([seen.length, areWiped(seen)]).toEqual([1, true]);
  });
});

describe('a master key', () => {
  it('overwrites its seed when it is disposed of, and then makes no signer', async () => {
    const master = readMasterKey(base64Encode(seed));
    const [kept] = await secretsSeenIn(() => master.signer(USER));
    expect(kept).toEqual(seed);
    const signer = master.signer(USER);
    master.dispose();
    expect(areWiped([kept])).toBe(true);
    expect(refusal(() => master.signer(USER)).code).toBe('bad-parameters');
    // A signer has a copy of its own.
    expect(signAuthData(authData, [signer]).signatures).toBeDefined();
    signer.dispose();
  });

  it('is disposed of at the end of its block', async () => {
    const seen = await secretsSeenIn(() => {
      using master = readMasterKey(base64Encode(seed));
      master.signer(USER).dispose();
    });
    expect([seen.length, areWiped(seen)]).toEqual([2, true]);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BACKUP_ALGORITHM,
  BackupDecryptionKey,
  type BackupPublicKey,
  createAuthData,
  addSignature,
  authDataBytes,
  ed25519Signer,
  signAuthData,
  verifyAuthData,
  type Signer,
  type SigningKey,
  type VerifyOptions,
} from '../../src/index.js';
import { canonicalJson } from '../../src/engine.js';
import { publicSigningKeyOf } from '../../src/curve25519/ed25519.js';
import { LOW_ORDER_POINTS, anyJson, base64, refusal, withHighBit } from '../support/samples.js';

const USER = '@alice:example.org';
const seed = (byte: number) => new Uint8Array(32).fill(byte);
const publicOf = (byte: number) => base64(publicSigningKeyOf(seed(byte)));
const device = ed25519Signer(USER, seed(1), 'DEVICE');
const deviceKey: SigningKey = { keyId: 'ed25519:DEVICE', publicKey: publicOf(1) };
const master = ed25519Signer(USER, seed(2));
const masterKey: SigningKey = { keyId: `ed25519:${publicOf(2)}`, publicKey: publicOf(2) };
const key = BackupDecryptionKey.fromBytes(seed(9));
const plain = createAuthData(key.publicKey);
const verify = (authData: unknown, options: Partial<VerifyOptions> = {}) =>
  verifyAuthData(authData, { userId: USER, ...options });
const states = (authData: unknown, options: Partial<VerifyOptions> = {}) =>
  Object.fromEntries(verify(authData, options).signatures.map(({ keyId, state }) => [keyId, state]));

describe('creating', () => {
  it('has the public key, and the algorithm its name', () => {
    expect(plain).toEqual({ public_key: key.publicKey.toBase64() });
    expect(BACKUP_ALGORITHM).toBe('m.megolm_backup.v1.curve25519-aes-sha2');
  });

  it('never publishes a decryption key that stands in the place of the public key', () => {
    const key = BackupDecryptionKey.generate() as unknown as BackupPublicKey;
    expect(refusal(() => createAuthData(key)).code).toBe('bad-parameters');
  });

  it('lets no further field take the place of the key', () => {
    expect(createAuthData(key.publicKey, { public_key: 'x', more: 1 })).toEqual({ ...plain, more: 1 });
  });
});

describe('signing', () => {
  it('covers everything but the top-level signatures and unsigned, and keeps it', () => {
    const nested = { signatures: 1, unsigned: 2, list: [{ unsigned: 3 }] };
    const authData = {
      ...plain,
      nested,
      unsigned: { a: 0.5 },
      signatures: { '@b:x': { 'ed25519:B': 'old' } },
    };
    const seen: string[] = [];
    const spy: Signer = {
      ...device,
      sign: (message) => (seen.push(Buffer.from(message).toString()), device.sign(message)),
    };
    const signed = signAuthData(authData, [spy, master]);
    expect(seen).toEqual([canonicalJson({ ...plain, nested })]);
    const { signatures, ...rest } = signed;
    expect(rest).toEqual({ ...plain, nested, unsigned: { a: 0.5 } });
    expect(signatures?.['@b:x']).toEqual({ 'ed25519:B': 'old' });
    expect(Object.keys(signatures?.[USER] ?? {}).sort()).toEqual([device.keyId, master.keyId].sort());
    expect(signatures?.[USER][device.keyId]).toMatch(/^[A-Za-z0-9+/]{86}$/);
    expect(authData.signatures).toEqual({ '@b:x': { 'ed25519:B': 'old' } });
  });

  it('adds to what one has signed before, and replaces the same key’s', () => {
    const once = signAuthData(plain, [device]);
    const twice = signAuthData(once, [master]);
    expect(twice.signatures?.[USER]).toMatchObject(once.signatures?.[USER] ?? {});
    const spoiled = { ...once, signatures: { [USER]: { [device.keyId]: 'spoiled' } } };
    expect(signAuthData(spoiled, [device]).signatures).toEqual(once.signatures);
  });

  it('takes prototype names for users, keys and fields', () => {
    const authData = JSON.parse(
      `{"__proto__":{"x":1},"public_key":${JSON.stringify(plain.public_key)}}`,
    ) as object;
    for (const userId of ['__proto__', 'constructor', 'toString']) {
      const signer = ed25519Signer(userId, seed(1), '__proto__');
      const signed = signAuthData(authData, [signer]);
      expect(Object.keys(signed)).toContain('__proto__');
      const verdict = verifyAuthData(signed, {
        userId,
        trustedKeys: [{ keyId: 'ed25519:__proto__', publicKey: publicOf(1) }],
      });
      expect(verdict).toMatchObject({ trusted: true, by: 'signature' });
    }
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });

  it('overlooks signatures that are no objects', () => {
    for (const signatures of [null, [], 'x', { [USER]: 'x' }]) {
      const signed = signAuthData({ ...plain, signatures }, [device]);
      expect(states(signed, { trustedKeys: [deviceKey] })).toEqual({ [device.keyId]: 'valid-trusted' });
    }
  });

  it.each([null, [], 'x', 1, undefined])('refuses %s: bad-auth-data', (authData) => {
    expect(refusal(() => signAuthData(authData, [device])).code).toBe('bad-auth-data');
  });

  it('refuses what has no canonical form', () => {
    expect(refusal(() => signAuthData({ ...plain, x: 0.5 }, [device])).code).toBe('bad-canonical-json');
  });

  it('refuses another algorithm’s key id, and a signature of another length', () => {
    const refused = (signer: Signer) => refusal(() => signAuthData(plain, [signer])).code;
    expect(refused({ ...device, keyId: 'curve25519:DEVICE' })).toBe('bad-parameters');
    expect(refused({ ...device, sign: () => new Uint8Array(63) })).toBe('bad-length');
  });

  it('copies the seed', () => {
    const given = seed(1);
    const signer = ed25519Signer(USER, given, 'DEVICE');
    given.fill(0);
    expect(signAuthData(plain, [signer])).toEqual(signAuthData(plain, [device]));
    expect(refusal(() => ed25519Signer(USER, new Uint8Array(31))).code).toBe('bad-length');
    expect(master.keyId).toBe(masterKey.keyId);
  });
});

describe('a signature that was made elsewhere', () => {
  const { keyId } = device;
  const signature = Buffer.from(device.sign(authDataBytes(plain))).toString('base64');

  it('is over the canonical JSON without signatures and unsigned', () => {
    const authData = { ...plain, unsigned: { a: 0.5 }, signatures: { '@b:x': { 'ed25519:B': 'old' } } };
    expect(Buffer.from(authDataBytes(authData)).toString()).toBe(canonicalJson(plain));
  });

  it('is added, padded or not, as a signer’s is', () => {
    const once = signAuthData(plain, [master]);
    const expected = signAuthData(once, [device]);
    for (const text of [signature, signature.replace(/=+$/, '')]) {
      expect(addSignature(once, USER, keyId, text)).toEqual(expected);
    }
    expect(once).toEqual(signAuthData(plain, [master]));
  });

  it('is added for users and keys with names of prototypes', () => {
    const signed = addSignature(plain, '__proto__', 'ed25519:__proto__', signature);
    expect(JSON.stringify(signed.signatures)).toBe(
      `{"__proto__":{"ed25519:__proto__":"${signature.replace(/=+$/, '')}"}}`,
    );
  });

  it.each([
    ['bad-length', plain, keyId, signature.slice(4)],
    ['bad-base64', plain, keyId, '!'.repeat(86)],
    ['bad-parameters', plain, 'curve25519:DEVICE', signature],
    ['bad-auth-data', [], keyId, signature],
  ])('is refused as %s', (code, authData, id, text) => {
    expect(refusal(() => addSignature(authData, USER, id, text)).code).toBe(code);
  });
});

describe('the verdict', () => {
  const signed = signAuthData(plain, [device, master]);

  it('trusts by the decryption key we hold, signed or not', () => {
    expect(verify(plain, { decryptionKey: key })).toMatchObject({
      trusted: true,
      by: 'decryption-key',
      keyMatches: true,
      signatures: [],
    });
    const spelled = { public_key: base64(withHighBit(key.publicKey.toBytes())) };
    expect(verify(spelled, { decryptionKey: key }).trusted).toBe(true);
  });

  it('trusts by a signature of a trusted key, device or master', () => {
    for (const trusted of [deviceKey, masterKey]) {
      const verdict = verify(signed, { trustedKeys: [trusted] });
      expect(verdict).toMatchObject({ trusted: true, by: 'signature', keyMatches: undefined });
      expect(verdict.reason).toContain(trusted.keyId);
      expect(verdict.publicKey?.equals(key.publicKey)).toBe(true);
    }
  });

  it('has a state for every signature', () => {
    expect(states(signed)).toEqual({ [device.keyId]: 'missing', [master.keyId]: 'valid-untrusted' });
    expect(states(signed, { knownKeys: [deviceKey] })).toMatchObject({ [device.keyId]: 'valid-untrusted' });
    expect(states(signed, { trustedKeys: [deviceKey], knownKeys: [deviceKey] })).toMatchObject({
      [device.keyId]: 'valid-trusted',
    });
    expect(states(plain, { trustedKeys: [deviceKey], knownKeys: [masterKey] })).toEqual({
      [device.keyId]: 'missing',
    });
    expect(verify(signed)).toMatchObject({ trusted: false, by: null });
    expect(verify(signed, { knownKeys: [deviceKey, masterKey] }).trusted).toBe(false);
  });

  it('holds for nothing that was changed, and only for that which is covered', () => {
    const trustedKeys = [deviceKey, masterKey];
    const invalid = { [device.keyId]: 'invalid', [master.keyId]: 'invalid' };
    const other = BackupDecryptionKey.generate().publicKey.toBase64();
    expect(states({ ...signed, public_key: other }, { trustedKeys })).toEqual(invalid);
    expect(states({ ...signed, added: 1 }, { trustedKeys })).toEqual(invalid);
    expect(states({ ...signed, added: 0.5 }, { trustedKeys })).toEqual(invalid);
    expect(states({ ...signed, private_key_iterations: 1 }, { trustedKeys })).toEqual(invalid);
    expect(verify({ ...signed, added: 1 }, { trustedKeys }).trusted).toBe(false);
    expect(verify({ ...signed, unsigned: { any: 0.5 } }, { trustedKeys }).trusted).toBe(true);
    const more = { ...signed.signatures, '@b:x': { x: 'y' } };
    expect(verify({ ...signed, signatures: more }, { trustedKeys }).trusted).toBe(true);
  });

  it('counts no other user’s signature', () => {
    const others = signAuthData(plain, [{ ...device, userId: '@mallory:example.org' }]);
    expect(verify(others, { trustedKeys: [deviceKey] })).toMatchObject({ trusted: false });
    expect(states(others, { trustedKeys: [deviceKey] })).toEqual({ [device.keyId]: 'missing' });
  });

  it('takes no other key for the one that an id names', () => {
    // Signed by Mallory's key under the master key's id, and Mallory's key given for it.
    const forged = signAuthData(plain, [{ ...ed25519Signer(USER, seed(5)), keyId: masterKey.keyId }]);
    expect(states(forged)).toEqual({ [masterKey.keyId]: 'invalid' });
    const given = { keyId: masterKey.keyId, publicKey: publicOf(5) };
    expect(states(forged, { trustedKeys: [given] })).toEqual({ [masterKey.keyId]: 'invalid' });
    expect(verify(forged, { trustedKeys: [given] }).trusted).toBe(false);
  });

  it('finds a key of small order invalid, trusted or not', () => {
    const small = Uint8Array.of(1, ...new Uint8Array(31));
    const signature = base64(Uint8Array.of(1, ...new Uint8Array(63)));
    for (const keyId of ['ed25519:D', `ed25519:${base64(small)}`]) {
      const authData = { ...plain, signatures: { [USER]: { [keyId]: signature } } };
      const verdict = verify(authData, { trustedKeys: [{ keyId, publicKey: base64(small) }] });
      expect(verdict).toMatchObject({ trusted: false, signatures: [{ state: 'invalid' }] });
    }
  });

  it.each([
    null,
    1,
    '',
    'AAAA',
    '*'.repeat(86),
    'A'.repeat(86),
    `${signed.signatures?.[USER][device.keyId] ?? ''} `,
    'A'.repeat(1_000_000),
    {},
  ])('calls the signature %.30j invalid', (signature) => {
    const authData = { ...plain, signatures: { [USER]: { [device.keyId]: signature } } };
    expect(states(authData, { trustedKeys: [deviceKey] })).toEqual({ [device.keyId]: 'invalid' });
  });

  it('takes a padded signature and a padded key', () => {
    const padded = `${signed.signatures?.[USER][device.keyId] ?? ''}==`;
    const authData = { ...plain, signatures: { [USER]: { [device.keyId]: padded } } };
    const trustedKeys = [{ ...deviceKey, publicKey: `${deviceKey.publicKey}=` }];
    expect(verify(authData, { trustedKeys }).trusted).toBe(true);
  });

  it('calls another algorithm invalid', () => {
    const authData = { ...plain, signatures: { [USER]: { 'rsa:D': 'x', D: 'y' } } };
    expect(states(authData)).toEqual({ 'rsa:D': 'invalid', D: 'invalid' });
  });

  it('trusts nothing without a usable public key, whatever signed it', () => {
    for (const public_key of [undefined, 1, 'short', 'A'.repeat(60), base64(LOW_ORDER_POINTS[2])]) {
      const signed = signAuthData(
        { public_key, a: 1, ...(public_key === undefined && { public_key: null }) },
        [device],
      );
      const verdict = verify(signed, { trustedKeys: [deviceKey], decryptionKey: key });
      expect(verdict).toMatchObject({
        trusted: false,
        by: null,
        keyMatches: undefined,
        publicKey: undefined,
      });
      expect(verdict.reason).toContain('auth_data.public_key');
      expect(verdict.signatures).toMatchObject([{ state: 'valid-trusted' }]);
    }
  });

  it('says when the key is another backup’s', () => {
    const verdict = verify(signed, { decryptionKey: BackupDecryptionKey.generate() });
    expect(verdict).toMatchObject({ trusted: false, keyMatches: false });
    expect(verdict.reason).toContain('another backup');
    const trusted = verify(signed, {
      decryptionKey: BackupDecryptionKey.generate(),
      trustedKeys: [deviceKey],
    });
    expect(trusted).toMatchObject({ trusted: true, by: 'signature', keyMatches: false });
  });

  it('refuses keys given in a wrong form', () => {
    for (const bad of [
      { keyId: 'curve25519:D', publicKey: publicOf(1) },
      { keyId: 'ed25519:D', publicKey: 'short' },
      { keyId: 'ed25519:D', publicKey: 'A'.repeat(200) },
      { keyId: 'ed25519:D', publicKey: '*'.repeat(43) },
      { keyId: 'ed25519:D', publicKey: undefined as unknown as string },
    ]) {
      expect(refusal(() => verify(signed, { trustedKeys: [bad] })).code).toBe('bad-parameters');
      expect(refusal(() => verify(signed, { knownKeys: [bad] })).code).toBe('bad-parameters');
    }
  });

  it('never throws for what an auth_data holds', () => {
    const inUser = anyJson.map((value) => ({ ...plain, signatures: { [USER]: value } }));
    const inKey = anyJson.map((value) => ({ ...plain, signatures: { [USER]: { [device.keyId]: value } } }));
    const inSignatures = anyJson.map((value) => ({ ...plain, signatures: value }));
    fc.assert(
      fc.property(fc.oneof(anyJson, inUser, inKey, inSignatures), (authData) => {
        const verdict = verify(authData, { trustedKeys: [deviceKey], decryptionKey: key });
        expect(verdict.by === 'signature').toBe(false);
      }),
    );
  });

  it('does not let a server make it verify without end', () => {
    const named = Object.fromEntries(
      Array.from({ length: 5000 }, (_, i) => {
        const id = new Uint8Array(32).fill(0x11);
        new DataView(id.buffer).setUint32(0, i);
        return [`ed25519:${base64(id)}`, base64(new Uint8Array(64))];
      }),
    );
    const authData = { ...signed, signatures: { [USER]: { ...named, ...signed.signatures?.[USER] } } };
    const verdict = verify(authData, { trustedKeys: [deviceKey] });
    expect(verdict).toMatchObject({ trusted: true, by: 'signature' });
    expect(verdict.signatures).toHaveLength(5002);
    const checked = verdict.signatures.filter(({ state }) => state !== 'missing');
    expect(checked.length).toBeLessThanOrEqual(150);
  });
});

describe('the reasons', () => {
  const reasons = (authData: unknown, options: Partial<VerifyOptions> = {}) =>
    verify(authData, options).signatures.map(({ reason }) => reason);
  const signed = signAuthData(plain, [device]);
  const withSignature = (keyId: string, signature: unknown) => ({
    ...plain,
    signatures: { [USER]: { [keyId]: signature } },
  });
  const zeros = base64(new Uint8Array(64));

  it.each<[string, unknown, Partial<VerifyOptions>]>([
    ['signed by a trusted key', signed, { trustedKeys: [deviceKey] }],
    ['signed by a key that is not trusted', signed, { knownKeys: [deviceKey] }],
    ['this trusted key has not signed', plain, { trustedKeys: [deviceKey] }],
    ['the key id names another algorithm than ed25519', withSignature('rsa:DEVICE', zeros), {}],
    ['the public key of this id is not known', withSignature('ed25519:DEVICE', zeros), {}],
    [
      'the key id is a public key, and not the one given for it',
      withSignature(masterKey.keyId, zeros),
      { knownKeys: [{ ...masterKey, publicKey: publicOf(3) }] },
    ],
    [
      'the signature is not base64 of 64 bytes',
      withSignature('ed25519:DEVICE', 'AAAA'),
      { knownKeys: [deviceKey] },
    ],
    ['the signed part is not canonical JSON', { ...signed, more: 0.5 }, { knownKeys: [deviceKey] }],
    [
      'the signature is not by this key over this data',
      withSignature('ed25519:DEVICE', zeros),
      { knownKeys: [deviceKey] },
    ],
  ])('%s', (reason, authData, options) => {
    expect(reasons(authData, options)).toEqual([reason]);
  });

  it('of the verdict', () => {
    const other = BackupDecryptionKey.fromBytes(seed(8));
    expect(verify(plain, { decryptionKey: key }).reason).toBe('the decryption key is this backup’s');
    expect(verify(signed, { trustedKeys: [deviceKey] }).reason).toBe(
      'signed by the trusted key ed25519:DEVICE',
    );
    expect(verify(plain).reason).toBe('no trusted key has signed this backup');
    expect(verify(plain, { decryptionKey: other }).reason).toBe(
      'the decryption key is another backup’s, and no trusted key has signed this backup',
    );
  });

  it('of unknown keys, 64 of which are checked; ids that are not keys do not count', () => {
    const named = Array.from({ length: 65 }, (_, i) => [`ed25519:${base64(seed(i + 100))}`, zeros]);
    const unnamed = Array.from({ length: 100 }, (_, i) => [`ed25519:DEVICE${i}`, zeros]);
    const signatures = { [USER]: Object.fromEntries([...unnamed, ...named]) };
    const given = reasons({ ...plain, signatures });
    expect(given.slice(0, 100).every((reason) => reason === 'the public key of this id is not known')).toBe(
      true,
    );
    expect(given.slice(100, 164).every((reason) => reason.startsWith('the signature is not by'))).toBe(true);
    expect(given[164]).toBe('not checked: too many unknown keys');
  });
});

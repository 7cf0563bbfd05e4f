/** `auth_data`: signed by libolm and by the SDK around vodozemac; forged by hand. */
import { PEER_NOTES, decode, encode, pad, utf8, vectorFile } from './file.mjs';
import { LIBOLM, Olm, libolm, signWithSdk, withOlm } from './peers.mjs';
import { FORGED_SIGNATURE, SMALL_ORDER_KEYS, signingKey } from './published.mjs';
import { randomBytes, seed } from './random.mjs';
import { LOW_ORDER_POINTS, publicKeyOf, withHighBit } from './scheme.mjs';

const USER = '@alice:example.org';
const DEVICE = 'ed25519:JLAFKJWSCS';
const OTHER_DEVICE = 'ed25519:QWERTYUIOP';

const NOTES = {
  ...PEER_NOTES,
  device: 'Signed by a device.',
  master: 'Signed by the cross-signing master key.',
  'vodozemac-signed': 'Signed by the OlmMachine of @matrix-org/matrix-sdk-crypto-wasm 18.9.0.',
  unsigned: 'Nobody has signed.',
  'unknown-field': 'Fields stand there that the specification does not know; they are signed with the rest.',
  passphrase: 'The parameters of a passphrase are there; they are signed with the rest.',
  tampered: 'Something was changed after signing.',
  'small-order':
    'An Ed25519 key is a point of small order: under a lenient check it has "signed" everything.',
  'id-mismatch': 'A signature of a master key stands under the id of another key.',
  'malformed-signature': 'What stands in the place of a signature is none.',
  'malformed-key': 'public_key is not base64 of 32 bytes.',
  'low-order': 'public_key is a point of small order.',
  'private-key': 'The reader holds a decryption key.',
  'high-bit': 'Bit 255 of public_key is set; X25519 ignores it.',
  'other-user': 'Somebody else has signed; that counts for nothing.',
  unicode: 'Ids or fields have characters outside ASCII.',
};

/** Canonical JSON of what stands in this file: no numbers but small integers, no astral keys. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
}

function signedText({ signatures: _, unsigned: __, ...covered }) {
  return canonical(covered);
}

/** A key in libolm, known by its seed. */
function signer(keyId) {
  const seedBytes = randomBytes(32);
  return withOlm([Olm.PkSigning], (signing) => {
    const publicKey = signing.init_with_seed(new Uint8Array(seedBytes));
    return {
      id: keyId ?? `ed25519:${publicKey}`,
      publicKey,
      seed: seedBytes,
      sign: (text) => signBySeed(seedBytes, text),
    };
  });
}

function signBySeed(seedBytes, text) {
  return withOlm([Olm.PkSigning], (signing) => {
    signing.init_with_seed(new Uint8Array(seedBytes));
    const signature = signing.sign(text);
    if (encode(signingKey(seedBytes).sign(utf8(text))) !== signature)
      throw new Error('libolm signs otherwise');
    return signature;
  });
}

/** A device as it really is: an Account of libolm. */
function accountSigner(keyId) {
  const pickle = withOlm([Olm.Account], (account) => {
    account.create();
    return account.pickle('');
  });
  const use = (call) =>
    withOlm([Olm.Account], (account) => {
      account.unpickle('', pickle);
      return call(account);
    });
  return {
    id: keyId,
    publicKey: use((account) => JSON.parse(account.identity_keys()).ed25519),
    sign: (text) => use((account) => account.sign(text)),
  };
}

/** The same with signatures of these added. */
function signed(authData, signers, userId = USER) {
  const signatures = { ...authData.signatures?.[userId] };
  for (const { id, sign } of signers) signatures[id] = sign(signedText(authData));
  return { ...authData, signatures: { ...authData.signatures, [userId]: signatures } };
}

const trusted = (one, others) => ({
  key_id: one.id,
  public_key: one.publicKey,
  master: false,
  trusted: true,
  ...others,
});
const known = (one, others) => trusted(one, { trusted: false, ...others });

/** The file. */
export async function authData() {
  seed('auth-data');
  const privateKey = randomBytes(32);
  const public_key = encode(publicKeyOf(privateKey));
  const world = {
    privateKey,
    plain: { public_key },
    device: accountSigner(DEVICE),
    other: accountSigner(OTHER_DEVICE),
    master: signer(),
  };
  return vectorFile('auth-data', LIBOLM, NOTES, [
    ...signatures(world),
    ...(await signedBySdk(world)),
    ...tampered(world),
    ...forged(world),
    ...malformedSignatures(world),
    ...held(world),
    ...signing(world),
    ...publicKeys(world),
    ...matches(world),
  ]);
}

function verify(
  id,
  comment,
  flags,
  auth_data,
  keys,
  states,
  { by = null, private_key, user_id = USER } = {},
) {
  return {
    id,
    comment,
    flags,
    result: 'valid',
    operation: 'verify',
    auth_data,
    user_id,
    keys,
    ...(private_key ? { private_key } : {}),
    states,
    trusted: by !== null,
    by,
  };
}

const bySignature = { by: 'signature' };
const TRUSTED = 'valid-trusted';
const UNTRUSTED = 'valid-untrusted';

function signatures({ plain, device, other, master }) {
  const masterKey = (entry = trusted) => entry(master, { master: true });
  const twice = signed(plain, [device, master]);
  const more = { ...plain, 'org.example.note': { b: ['ä', true, null], a: 1 }, version: 1 };
  const passphrase = {
    ...plain,
    private_key_salt: 'pepper',
    private_key_iterations: 500_000,
    private_key_bits: 256,
  };
  const withUnsigned = { ...signed(plain, [device]), unsigned: { age: 5 } };
  const nested = { ...plain, 'org.example.a': { signatures: { a: 1 }, unsigned: { b: 2 } } };
  const exotic = { ...plain, 'org.example.鍵': '\u0000\u001f\u007f"\\/ 🔑 \u2028' };
  const user_id = '@аліса+x=/.:example.org';
  return [
    verify(
      'device',
      'signed by a trusted device',
      ['device'],
      signed(plain, [device]),
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'device-known',
      'signed by a device that is known but not trusted',
      ['device'],
      signed(plain, [device]),
      [known(device)],
      {
        [device.id]: UNTRUSTED,
      },
    ),
    verify(
      'master',
      'signed by the trusted master key',
      ['master'],
      signed(plain, [master]),
      [masterKey()],
      { [master.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'master-known',
      'signed by a master key that is not trusted',
      ['master'],
      signed(plain, [master]),
      [masterKey(known)],
      {
        [master.id]: UNTRUSTED,
      },
    ),
    verify(
      'both',
      'signed by both',
      ['device', 'master'],
      twice,
      [trusted(device), masterKey()],
      { [device.id]: TRUSTED, [master.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'both-master-trusted',
      'signed by both, only the master key is trusted',
      ['device', 'master'],
      twice,
      [known(device), masterKey()],
      { [device.id]: UNTRUSTED, [master.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'both-none-trusted',
      'signed by both, none is trusted',
      ['device', 'master'],
      twice,
      [known(device), masterKey(known)],
      {
        [device.id]: UNTRUSTED,
        [master.id]: UNTRUSTED,
      },
    ),
    verify('missing', 'not signed', ['unsigned'], plain, [trusted(device), masterKey()], {
      [device.id]: 'missing',
      [master.id]: 'missing',
    }),
    verify(
      'missing-empty',
      'signatures is an empty object',
      ['unsigned'],
      { ...plain, signatures: {} },
      [trusted(device)],
      { [device.id]: 'missing' },
    ),
    verify(
      'missing-user',
      'the user has an empty object there',
      ['unsigned'],
      { ...plain, signatures: { [USER]: {} } },
      [trusted(device)],
      {
        [device.id]: 'missing',
      },
    ),
    verify(
      'missing-one',
      'one of two trusted keys has signed',
      ['device'],
      signed(plain, [device]),
      [trusted(device), masterKey()],
      { [device.id]: TRUSTED, [master.id]: 'missing' },
      bySignature,
    ),
    verify(
      'nobody-known',
      'signed, and the reader knows no key',
      ['device'],
      signed(plain, [device]),
      [],
      {},
    ),
    verify(
      'other-device',
      'signed by a device, another is trusted',
      ['device'],
      signed(plain, [device]),
      [trusted(other)],
      { [other.id]: 'missing' },
    ),
    verify(
      'unknown-fields',
      'unknown fields are signed',
      ['device', 'unknown-field'],
      signed(more, [device]),
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'passphrase',
      'passphrase parameters are signed',
      ['device', 'passphrase'],
      signed(passphrase, [device]),
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'unsigned-field',
      'unsigned was added after signing, which it may be',
      ['device'],
      withUnsigned,
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'nested-names',
      'fields named signatures and unsigned deeper inside are signed',
      ['device', 'unknown-field'],
      signed(nested, [device]),
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'unicode',
      'control characters, escapes and an astral character',
      ['device', 'unknown-field', 'unicode'],
      signed(exotic, [device]),
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'unicode-user',
      'a user id outside ASCII',
      ['device', 'unicode'],
      signed(plain, [device], user_id),
      [trusted(device)],
      { [device.id]: TRUSTED },
      { ...bySignature, user_id },
    ),
    verify(
      'other-user',
      'somebody else has signed with the trusted key',
      ['other-user'],
      signed(plain, [device], '@mallory:example.org'),
      [trusted(device)],
      {
        [device.id]: 'missing',
      },
    ),
    verify(
      'other-user-too',
      'somebody else has signed too',
      ['other-user', 'device'],
      signed(signed(plain, [other], '@bob:example.org'), [device]),
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'reversed',
      'the fields stand in another order than they are signed in',
      ['device', 'unknown-field'],
      Object.fromEntries(Object.entries(signed(more, [device])).reverse()),
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'padded-key',
      'the trusted key is given as padded base64',
      ['device'],
      signed(plain, [device]),
      [{ ...trusted(device), public_key: pad(device.publicKey) }],
      { [device.id]: TRUSTED },
      bySignature,
    ),
  ];
}

async function signedBySdk({ plain }) {
  const { signatures: bySdk, deviceKey } = await signWithSdk(USER, 'RUSTDEVICE', signedText(plain));
  const auth_data = { ...plain, signatures: { [USER]: bySdk } };
  const deviceEntry = { key_id: 'ed25519:RUSTDEVICE', public_key: deviceKey, master: false, trusted: true };
  const master_id = Object.keys(bySdk).find((id) => id !== deviceEntry.key_id);
  const masterEntry = {
    key_id: master_id,
    public_key: master_id.slice('ed25519:'.length),
    master: true,
    trusted: true,
  };
  for (const { key_id, public_key } of [deviceEntry, masterEntry]) {
    if (!libolm.verifies(public_key, signedText(plain), bySdk[key_id]))
      throw new Error(`libolm refuses ${key_id}`);
  }
  const flags = ['device', 'master', 'vodozemac-signed'];
  return [
    verify(
      'sdk-both',
      'signed by a client of the SDK',
      flags,
      auth_data,
      [deviceEntry, masterEntry],
      { [deviceEntry.key_id]: TRUSTED, [master_id]: TRUSTED },
      bySignature,
    ),
    verify(
      'sdk-master',
      'the same; only the master key is known',
      flags,
      auth_data,
      [masterEntry],
      { [master_id]: TRUSTED },
      bySignature,
    ),
  ];
}

function tampered({ plain, device, master }) {
  const passphrase = { ...plain, private_key_salt: 'pepper', private_key_iterations: 500_000 };
  const more = { ...plain, 'org.example.note': { a: 1 } };
  const another = encode(publicKeyOf(randomBytes(32)));
  const invalid = { [device.id]: 'invalid' };
  const change = (id, comment, original, change) =>
    verify(
      `tampered-${id}`,
      comment,
      ['device', 'tampered'],
      change(signed(original, [device])),
      [trusted(device)],
      invalid,
    );
  const both = signed(plain, [device, master]);
  const flipped = (signature) => {
    const bytes = decode(signature);
    bytes[5] ^= 4;
    return encode(bytes);
  };
  const spoiltDevice = {
    ...both,
    signatures: {
      [USER]: { ...both.signatures[USER], [device.id]: flipped(both.signatures[USER][device.id]) },
    },
  };
  return [
    change('public-key', 'another public key', plain, (value) => ({ ...value, public_key: another })),
    change('added', 'a field was added', plain, (value) => ({ ...value, 'org.example.more': true })),
    change('removed', 'a field was removed', more, ({ 'org.example.note': _, ...value }) => value),
    change('nested', 'a number deep inside was changed', more, (value) => ({
      ...value,
      'org.example.note': { a: 2 },
    })),
    change('iterations', 'fewer rounds', passphrase, (value) => ({ ...value, private_key_iterations: 1 })),
    change('salt', 'another salt', passphrase, (value) => ({ ...value, private_key_salt: 'salt' })),
    change('fraction', 'a number was added that canonical JSON does not have', plain, (value) => ({
      ...value,
      'org.example.more': 1.5,
    })),
    change('signature', 'one bit of the signature', plain, (value) => ({
      ...value,
      signatures: { [USER]: { [device.id]: flipped(value.signatures[USER][device.id]) } },
    })),
    verify(
      'tampered-one',
      'one of two signatures was changed',
      ['device', 'master', 'tampered'],
      spoiltDevice,
      [trusted(device), trusted(master, { master: true })],
      { [device.id]: 'invalid', [master.id]: TRUSTED },
      bySignature,
    ),
  ];
}

function forged({ plain, device, other, master }) {
  const under = (id, by) => ({ ...plain, signatures: { [USER]: { [id]: by.sign(signedText(plain)) } } });
  const mallory = signer();
  const cases = [
    verify(
      'forged-other-key',
      "another's signature under the trusted device's id",
      ['device', 'tampered'],
      under(device.id, other),
      [trusted(device)],
      {
        [device.id]: 'invalid',
      },
    ),
    verify(
      'forged-self-made',
      "a master key of somebody else's making, trusted by nobody",
      ['master'],
      signed(plain, [mallory]),
      [known(mallory, { master: true }), trusted(master, { master: true })],
      {
        [mallory.id]: UNTRUSTED,
        [master.id]: 'missing',
      },
    ),
    verify(
      'id-mismatch',
      'the trusted master key has signed, under the id of another key',
      ['master', 'id-mismatch'],
      under(mallory.id, master),
      [{ ...trusted(master, { master: true }), key_id: mallory.id }],
      {
        [mallory.id]: 'invalid',
      },
    ),
    verify(
      'id-mismatch-forged',
      "another key has signed under the master key's id and is given for it",
      ['master', 'id-mismatch'],
      under(master.id, mallory),
      [{ ...trusted(mallory, { master: true }), key_id: master.id }],
      {
        [master.id]: 'invalid',
      },
    ),
    verify(
      'id-mismatch-unsigned',
      'signed by another key than the id says; the reader has the right one',
      ['master', 'id-mismatch'],
      under(master.id, mallory),
      [trusted(master, { master: true })],
      {
        [master.id]: 'invalid',
      },
    ),
  ];
  SMALL_ORDER_KEYS.forEach(([name, hex], i) => {
    const publicKey = encode(Buffer.from(hex, 'hex'));
    const signature = encode(Buffer.from(FORGED_SIGNATURE, 'hex'));
    const accepts = libolm.verifies(publicKey, signedText(plain), signature);
    const auth_data = {
      ...plain,
      signatures: { [USER]: { [DEVICE]: signature, [`ed25519:${publicKey}`]: signature } },
    };
    const keys = [
      { key_id: DEVICE, public_key: publicKey, master: false, trusted: true },
      { key_id: `ed25519:${publicKey}`, public_key: publicKey, master: true, trusted: true },
    ];
    const flags = ['small-order', ...(accepts ? ['libolm-accepts'] : [])];
    const states = Object.fromEntries(keys.map(({ key_id }) => [key_id, 'invalid']));
    cases.push(
      verify(
        `small-order-${i + 1}`,
        `the trusted keys are a point of ${name}`,
        flags,
        auth_data,
        keys,
        states,
      ),
    );
  });
  return cases;
}

function malformedSignatures({ plain, device }) {
  const right = device.sign(signedText(plain));
  const values = [
    ['empty', 'empty', ''],
    ['short', '63 bytes', encode(decode(right).subarray(0, 63))],
    ['long', '65 bytes', encode(Buffer.concat([decode(right), Buffer.alloc(1)]))],
    ['url-safe', 'a character of the URL-safe alphabet', `${right.slice(0, 20)}_${right.slice(21)}`],
    ['space', 'a space inside', `${right.slice(0, 20)} ${right.slice(20)}`],
    ['number', 'a number', 5],
    ['null', 'null', null],
    ['object', 'an object', { signature: right }],
    ['array', 'an array', [right]],
  ].map(([id, comment, value]) =>
    verify(
      `signature-${id}`,
      `the signature is ${comment}`,
      ['malformed-signature'],
      { ...plain, signatures: { [USER]: { [device.id]: value } } },
      [trusted(device)],
      {
        [device.id]: 'invalid',
      },
    ),
  );
  const containers = [
    ['string', 'text'],
    ['null', null],
    ['array', [right]],
    ['number', 5],
  ].flatMap(([type, value]) =>
    [
      [`signatures-${type}`, `signatures is of type ${type}`, value],
      [`signatures-user-${type}`, `signatures of the user are of type ${type}`, { [USER]: value }],
    ].map(([id, comment, all]) =>
      verify(id, comment, ['malformed-signature'], { ...plain, signatures: all }, [trusted(device)], {
        [device.id]: 'missing',
      }),
    ),
  );
  const padded = { ...plain, signatures: { [USER]: { [device.id]: pad(right) } } };
  const hidden = JSON.parse(JSON.stringify(signed(plain, [device])).replace(`"${USER}"`, '"__proto__"'));
  return [
    ...values,
    ...containers,
    verify(
      'signature-padded',
      'the signature is padded base64',
      ['device'],
      padded,
      [trusted(device)],
      { [device.id]: TRUSTED },
      bySignature,
    ),
    verify(
      'signatures-proto',
      'the signatures are those of a user called __proto__',
      ['other-user'],
      hidden,
      [trusted(device)],
      { [device.id]: 'missing' },
    ),
  ];
}

function held({ privateKey, plain, device }) {
  const private_key = encode(privateKey);
  const wrong = encode(randomBytes(32));
  const another = { ...signed(plain, [device]), public_key: encode(publicKeyOf(randomBytes(32))) };
  const short = signed({ public_key: encode(randomBytes(45)) }, [device]);
  const lowOrder = signed({ public_key: encode(LOW_ORDER_POINTS[1][1]) }, [device]);
  const none = signed({ 'org.example.note': 1 }, [device]);
  const states = { [device.id]: TRUSTED };
  return [
    verify(
      'held-unsigned',
      'not signed, but the key fits',
      ['private-key', 'unsigned'],
      plain,
      [],
      {},
      { by: 'decryption-key', private_key },
    ),
    verify(
      'held-signed',
      'signed, and the key fits: the key counts first',
      ['private-key', 'device'],
      signed(plain, [device]),
      [trusted(device)],
      states,
      { by: 'decryption-key', private_key },
    ),
    verify(
      'held-tampered',
      'a signature is invalid, and the key fits',
      ['private-key', 'tampered'],
      { ...signed(plain, [device]), more: 1 },
      [trusted(device)],
      { [device.id]: 'invalid' },
      { by: 'decryption-key', private_key },
    ),
    verify(
      'held-untrusted',
      'signed by a key that is not trusted, and the key fits',
      ['private-key', 'device'],
      signed(plain, [device]),
      [known(device)],
      { [device.id]: UNTRUSTED },
      { by: 'decryption-key', private_key },
    ),
    verify(
      'held-wrong',
      'not signed, and the key is that of another backup',
      ['private-key', 'unsigned'],
      plain,
      [],
      {},
      { private_key: wrong },
    ),
    verify(
      'held-wrong-signed',
      'the key is that of another backup, but the signature is right',
      ['private-key', 'device'],
      signed(plain, [device]),
      [trusted(device)],
      states,
      { ...bySignature, private_key: wrong },
    ),
    verify(
      'held-replaced',
      'the public key was replaced after signing',
      ['private-key', 'tampered'],
      another,
      [trusted(device)],
      { [device.id]: 'invalid' },
      { private_key },
    ),
    verify(
      'held-high-bit',
      'the key fits; bit 255 of the public key is set',
      ['private-key', 'high-bit'],
      { public_key: encode(withHighBit(publicKeyOf(privateKey))) },
      [],
      {},
      { by: 'decryption-key', private_key },
    ),
    verify(
      'malformed-signed',
      'a trusted device has signed a public key of 45 bytes: there is nothing to trust',
      ['malformed-key', 'device'],
      short,
      [trusted(device)],
      states,
    ),
    verify(
      'low-order-signed',
      'a trusted device has signed a public key of small order',
      ['low-order', 'device'],
      lowOrder,
      [trusted(device)],
      states,
    ),
    verify(
      'keyless-signed',
      'a trusted device has signed something without a public key',
      ['malformed-key', 'device'],
      none,
      [trusted(device)],
      states,
    ),
  ];
}

function signing({ plain, master }) {
  const device = { ...signer(DEVICE) };
  const add = (id, comment, flags, auth_data, by, user_id = USER) => ({
    id: `sign-${id}`,
    comment,
    flags,
    result: 'valid',
    operation: 'sign',
    auth_data,
    user_id,
    key_id: by.id,
    seed: encode(by.seed),
    signed_json: signedText(auth_data),
    signature: by.sign(signedText(auth_data)),
    signed: signed(auth_data, [by], user_id),
  });
  const foreign = {
    ...plain,
    signatures: { '@bob:example.org': { 'ed25519:BOB': 'AAAA' }, [USER]: { 'ed25519:OLD': 'BBBB' } },
  };
  const proto = JSON.parse(`{"public_key":"${plain.public_key}","__proto__":{"a":1}}`);
  return [
    add('device', 'by a device', ['device'], plain, device),
    add('master', 'by a master key', ['master'], plain, master),
    add('keeps', 'signatures that were there are kept', ['device'], foreign, device),
    add('again', 'after another key', ['device', 'master'], signed(plain, [master]), device),
    add(
      'unknown',
      'unknown fields are signed and kept',
      ['device', 'unknown-field'],
      { ...plain, z: { b: 'ä', a: [1, 'x'] } },
      device,
    ),
    add(
      'unsigned',
      'unsigned is kept and not signed',
      ['device'],
      { ...plain, unsigned: { age: 1 } },
      device,
    ),
    add(
      'passphrase',
      'passphrase parameters are signed',
      ['device', 'passphrase'],
      { ...plain, private_key_salt: 's', private_key_iterations: 10, private_key_bits: 256 },
      device,
    ),
    add('proto', 'a field named __proto__ is signed', ['device', 'unknown-field'], proto, device),
    {
      id: 'sign-fraction',
      comment: 'a number that canonical JSON does not have',
      flags: ['device'],
      result: 'invalid',
      code: 'bad-canonical-json',
      operation: 'sign',
      auth_data: { ...plain, more: 1.5 },
      user_id: USER,
      key_id: device.id,
      seed: encode(device.seed),
    },
  ];
}

function publicKeys({ plain }) {
  const text = plain.public_key;
  const valid = (id, comment, flags, public_key) => ({
    id: `public-key-${id}`,
    comment,
    flags,
    result: 'valid',
    operation: 'public-key',
    auth_data: { public_key },
    public_key: encode(decode(public_key)),
  });
  const invalid = (id, comment, auth_data, code = 'bad-auth-data', flags = ['malformed-key']) => ({
    id: `public-key-${id}`,
    comment,
    flags,
    result: 'invalid',
    code,
    operation: 'public-key',
    auth_data,
  });
  const wrong = (id, comment, public_key) => invalid(id, comment, { public_key });
  return [
    valid('right', '43 characters', [], text),
    valid('padded', 'padded', [], pad(text)),
    valid('high-bit', 'bit 255 is set', ['high-bit'], encode(withHighBit(decode(text)))),
    wrong('45-bytes', '60 characters, 45 bytes: such accounts exist', encode(randomBytes(45))),
    wrong(
      '45-bytes-prefix',
      'a right key with 17 characters more; one peer silently uses the first 43',
      encode(Buffer.concat([decode(text), randomBytes(13)])),
    ),
    wrong('31-bytes', '31 bytes', encode(randomBytes(31))),
    wrong('33-bytes', '33 bytes', encode(randomBytes(33))),
    wrong('64-bytes', '64 bytes', encode(randomBytes(64))),
    wrong('empty', 'empty', ''),
    wrong('url-safe', 'the URL-safe alphabet', `${text.slice(0, 20)}_${text.slice(21)}`),
    wrong('space', 'a space inside', `${text.slice(0, 20)} ${text.slice(20)}`),
    wrong('newline', 'a line end', `${text}\n`),
    wrong('over-padded', 'padded too much', `${text}==`),
    wrong('hex', 'hex', decode(text).toString('hex')),
    wrong('long', '10,000 characters', 'A'.repeat(10_000)),
    wrong('number', 'a number', 5),
    wrong('null', 'null', null),
    wrong('array', 'an array', [text]),
    wrong('object', 'an object', { public_key: text }),
    invalid('missing', 'absent', {}),
    invalid(
      'inherited',
      'it stands in an object called __proto__',
      JSON.parse(`{"__proto__":{"public_key":"${text}"}}`),
    ),
    invalid('auth-data-null', 'auth_data is null', null),
    invalid('auth-data-array', 'auth_data is an array', [plain]),
    invalid('auth-data-string', 'auth_data is a string', text),
    ...LOW_ORDER_POINTS.map(([name, point], i) =>
      invalid(`low-order-${i + 1}`, name, { public_key: encode(point) }, 'low-order-key', ['low-order']),
    ),
  ];
}

function matches({ privateKey, plain }) {
  const match = (id, comment, flags, auth_data, key, code) => ({
    id: `match-${id}`,
    comment,
    flags,
    result: code ? 'invalid' : 'valid',
    ...(code ? { code } : {}),
    operation: 'match',
    auth_data,
    private_key: encode(key),
  });
  const unclamped = Buffer.from(privateKey);
  unclamped[0] ^= 7;
  unclamped[31] ^= 0x80;
  const near = Buffer.from(privateKey);
  near[0] ^= 8;
  return [
    match('right', 'the key of this backup', ['private-key'], plain, privateKey),
    match('unclamped', 'bits that X25519 clears are others', ['private-key'], plain, unclamped),
    match(
      'high-bit',
      'bit 255 of the public key is set',
      ['private-key', 'high-bit'],
      { public_key: encode(withHighBit(publicKeyOf(privateKey))) },
      privateKey,
    ),
    match('wrong', 'the key of another backup', ['private-key'], plain, randomBytes(32), 'wrong-key'),
    match('near', 'one bit is another', ['private-key'], plain, near, 'wrong-key'),
    match('zero', 'a key of zeros', ['private-key'], plain, Buffer.alloc(32), 'wrong-key'),
    match(
      'malformed',
      'public_key is 45 bytes',
      ['private-key', 'malformed-key'],
      { public_key: encode(randomBytes(45)) },
      privateKey,
      'bad-auth-data',
    ),
  ];
}

/** Secret storage. Neither peer opens it, so `node:crypto` does. */
import { createCipheriv, createHmac, hkdfSync, pbkdf2Sync } from 'node:crypto';
import { NODE_CRYPTO, encode, pad, setTrailingBits, vectorFile } from './file.mjs';
import { randomBytes, seed } from './random.mjs';

const NOTES = {
  unicode: 'A text has characters outside ASCII.',
  bounds: 'A number that a server chose is outside its bounds.',
  type: 'A JSON value is of another type than it has to be.',
  missing: 'A field is absent.',
  base64: 'About the spelling of base64.',
  counter: 'The 16-byte counter overflows.',
};

const ALGORITHM = 'm.secret_storage.v1.aes-hmac-sha2';
const SECRET = 'm.megolm_backup.v1';

/** A secret under a storage key. */
function seal(key, name, plaintext, iv = newIv()) {
  const keys = Buffer.from(hkdfSync('sha256', key, Buffer.alloc(32), name, 64));
  const cipher = createCipheriv('aes-256-ctr', keys.subarray(0, 32), iv);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  const mac = createHmac('sha256', keys.subarray(32)).update(ciphertext).digest();
  return { iv: encode(iv), ciphertext: encode(ciphertext), mac: encode(mac) };
}

function newIv() {
  const iv = randomBytes(16);
  iv[8] &= 0x7f;
  return iv;
}

function description(key, change = {}) {
  const { iv, mac } = seal(key, '', Buffer.alloc(32));
  return { algorithm: ALGORITHM, iv, mac, ...change };
}

/** The file. */
export function secretStorage() {
  seed('secret-storage');
  const key = randomBytes(32);
  return vectorFile('secret-storage', NODE_CRYPTO, NOTES, [...checks(key), ...phrases(), ...secrets(key)]);
}

function checks(key) {
  const other = randomBytes(32);
  const right = description(key);
  const ones = seal(key, '', Buffer.alloc(32), Buffer.alloc(16, 0xff));
  return [
    ['check-right', 'the key of the description', [], right, 'right'],
    [
      'check-padded',
      'padded base64',
      ['base64'],
      { ...right, iv: pad(right.iv), mac: pad(right.mac) },
      'right',
    ],
    [
      'check-trailing-bits',
      'set bits behind the MAC',
      ['base64'],
      { ...right, mac: setTrailingBits(right.mac) },
      'right',
    ],
    [
      'check-counter',
      'an IV of ones',
      ['counter'],
      { algorithm: ALGORITHM, iv: ones.iv, mac: ones.mac },
      'right',
    ],
    [
      'check-passphrase',
      'a passphrase and a name beside',
      [],
      { ...right, name: 'key', passphrase: {} },
      'right',
    ],
    ['check-wrong', 'the description of another key', [], description(other), 'wrong'],
    ['check-wrong-mac', 'the MAC of another key', [], { ...right, mac: description(other).mac }, 'wrong'],
    ['check-wrong-iv', 'another IV', [], { ...right, iv: encode(newIv()) }, 'wrong'],
    ['check-no-iv', 'no iv', ['missing'], { algorithm: ALGORITHM, mac: right.mac }, 'unchecked'],
    ['check-no-mac', 'no mac', ['missing'], { algorithm: ALGORITHM, iv: right.iv }, 'unchecked'],
    ['check-neither', 'neither iv nor mac', ['missing'], { algorithm: ALGORITHM }, 'unchecked'],
    ['check-short-iv', 'an IV of 12 bytes', [], { ...right, iv: encode(Buffer.alloc(12)) }, 'wrong'],
    ['check-short-mac', 'a MAC of 8 bytes', [], { ...right, mac: right.mac.slice(0, 11) }, 'wrong'],
    ['check-number', 'a MAC that is a number', ['type'], { ...right, mac: 5 }, 'wrong'],
    [
      'check-long-iv',
      'an IV of 32 bytes, of which the first 16 count, as nheko writes it',
      [],
      { ...right, iv: encode(Buffer.concat([Buffer.from(right.iv, 'base64'), Buffer.alloc(16, 7)])) },
      'right',
    ],
  ].map(([id, comment, flags, described, check]) => ({
    ...{ id, comment, flags, result: 'valid', operation: 'check' },
    ...{ private_key: encode(key), description: described, check },
  }));
}

function phrases() {
  const parameters = { algorithm: 'm.pbkdf2', salt: 'Zou3rU0NCl7B', iterations: 10 };
  const derive = (text, { salt, iterations }) =>
    pbkdf2Sync(Buffer.from(text), Buffer.from(salt), iterations, 32, 'sha512');
  const without = (name) =>
    Object.fromEntries(Object.entries(parameters).filter(([field]) => field !== name));
  const described = (passphrase) => ({ algorithm: ALGORITHM, passphrase });
  const valid = [
    ['phrase', 'a phrase', [], 'a phrase', parameters],
    ['phrase-bits', '256 bits, given', [], 'a phrase', { ...parameters, bits: 256 }],
    ['phrase-1', 'one round', [], 'a phrase', { ...parameters, iterations: 1 }],
    ['phrase-unicode', 'outside ASCII', ['unicode'], 'Schlüssel 🔑', { ...parameters, salt: '塩' }],
    ['phrase-empty', 'an empty phrase', [], '', parameters],
  ].map(([id, comment, flags, passphrase, given]) => ({
    ...{ id, comment, flags, result: 'valid', operation: 'passphrase', passphrase },
    ...{ description: described(given), private_key: encode(derive(passphrase, given)) },
  }));
  const invalid = [
    ['phrase-none', 'a key without a phrase', ['missing'], 'missing-field', undefined],
    ['phrase-no-salt', 'no salt', ['missing'], 'missing-field', without('salt')],
    ['phrase-no-algorithm', 'no algorithm', ['missing'], 'missing-field', without('algorithm')],
    ['phrase-no-iterations', 'no rounds', ['missing'], 'bad-parameters', without('iterations')],
    [
      'phrase-algorithm',
      'another algorithm',
      [],
      'unsupported-algorithm',
      { ...parameters, algorithm: 'm.scrypt' },
    ],
    ['phrase-array', 'parameters that are an array', ['type'], 'bad-json', []],
    ['phrase-salt-number', 'a salt that is a number', ['type'], 'bad-json', { ...parameters, salt: 5 }],
    [
      'phrase-iterations-text',
      'rounds as text',
      ['type'],
      'bad-parameters',
      { ...parameters, iterations: '10' },
    ],
    ...[0, -1, 1.5, 10_000_001, 2 ** 53 - 1].map((iterations) => [
      ...[`phrase-iterations-${iterations}`, `${iterations} rounds`, ['bounds'], 'bad-parameters'],
      { ...parameters, iterations },
    ]),
    ...[0, 128, 512].map((bits) => [
      ...[`phrase-bits-${bits}`, `${bits} bits`, ['bounds'], 'bad-parameters'],
      { ...parameters, bits },
    ]),
  ].map(([id, comment, flags, code, passphrase]) => ({
    ...{ id, comment, flags, result: 'invalid', code, operation: 'passphrase', passphrase: 'a phrase' },
    description: passphrase === undefined ? { algorithm: ALGORITHM } : described(passphrase),
  }));
  return [...valid, ...invalid];
}

function secrets(key) {
  const secret = encode(randomBytes(32));
  const stored = seal(key, SECRET, secret);
  const under = (sealed) => ({ encrypted: { key_id: sealed } });
  const without = (name) =>
    under(Object.fromEntries(Object.entries(stored).filter(([field]) => field !== name)));
  const flipped = Buffer.from(stored.ciphertext, 'base64');
  flipped[0] ^= 1;
  const valid = [
    ['secret', 'a key in base64', [], under(stored), secret],
    [
      'secret-padded',
      'padded base64',
      ['base64'],
      under({ iv: pad(stored.iv), ciphertext: pad(stored.ciphertext), mac: pad(stored.mac) }),
      secret,
    ],
    [
      'secret-counter',
      'an IV of ones',
      ['counter'],
      under(seal(key, SECRET, secret, Buffer.alloc(16, 0xff))),
      secret,
    ],
    [
      'secret-bit-63',
      'bit 63 of the IV set',
      ['counter'],
      under(seal(key, SECRET, secret, Buffer.alloc(16, 0x80))),
      secret,
    ],
    ['secret-empty', 'an empty secret', [], under(seal(key, SECRET, '')), ''],
    ['secret-unicode', 'outside ASCII', ['unicode'], under(seal(key, SECRET, 'ключ 🔑')), 'ключ 🔑'],
    [
      'secret-others',
      'stored under other keys too',
      [],
      { encrypted: { other: {}, ...under(stored).encrypted } },
      secret,
    ],
  ].map(([id, comment, flags, content, expected]) => ({
    ...{ id, comment, flags, result: 'valid', ...decryption(key), content, secret: expected },
  }));
  const invalid = [
    ['secret-none', 'a deleted secret', ['missing'], 'missing-field', {}],
    ['secret-null', 'null', ['type'], 'bad-json', null],
    ['secret-array', 'encrypted is an array', ['type'], 'bad-json', { encrypted: [] }],
    [
      'secret-other-key',
      'stored under another key only',
      ['missing'],
      'missing-field',
      { encrypted: { other: stored } },
    ],
    ['secret-no-iv', 'no iv', ['missing'], 'missing-field', without('iv')],
    ['secret-no-ciphertext', 'no ciphertext', ['missing'], 'missing-field', without('ciphertext')],
    ['secret-no-mac', 'no mac', ['missing'], 'missing-field', without('mac')],
    [
      'secret-mac-short',
      'a MAC of 8 bytes',
      [],
      'bad-mac-length',
      under({ ...stored, mac: stored.mac.slice(0, 11) }),
    ],
    [
      'secret-iv-short',
      'an IV of 12 bytes',
      [],
      'bad-length',
      under({ ...stored, iv: encode(Buffer.alloc(12)) }),
    ],
    [
      'secret-url-safe',
      'URL-safe base64',
      ['base64'],
      'bad-base64',
      under({ ...stored, ciphertext: `-${stored.ciphertext.slice(1)}` }),
    ],
    [
      'secret-number',
      'a ciphertext that is a number',
      ['type'],
      'bad-json',
      under({ ...stored, ciphertext: 5 }),
    ],
    [
      'secret-changed',
      'a changed bit',
      [],
      'mac-mismatch',
      under({ ...stored, ciphertext: encode(flipped) }),
    ],
    [
      'secret-other-name',
      'encrypted under another name',
      [],
      'mac-mismatch',
      under(seal(key, 'm.cross_signing.master', secret)),
    ],
    [
      'secret-wrong-key',
      'encrypted with another key',
      [],
      'mac-mismatch',
      under(seal(randomBytes(32), SECRET, secret)),
    ],
    ['secret-not-utf8', 'no UTF-8', [], 'bad-utf8', under(seal(key, SECRET, Buffer.of(0xff)))],
  ].map(([id, comment, flags, code, content]) => ({
    ...{ id, comment, flags, result: 'invalid', code, ...decryption(key), content },
  }));
  return [...valid, ...invalid];
}

function decryption(key) {
  return { operation: 'decrypt', private_key: encode(key), key_id: 'key_id', name: SECRET };
}

/** Keys from passphrases. Neither peer derives them, so `node:crypto` does. */
import { pbkdf2Sync } from 'node:crypto';
import { NODE_CRYPTO, encode, expectEqual, vectorFile } from './file.mjs';
import { randomBytes, seed } from './random.mjs';
import { publicKeyOf } from './scheme.mjs';

const NOTES = {
  published:
    'The value is published elsewhere too: the first half of a widely used PBKDF2-HMAC-SHA-512 test value.',
  unicode: 'Passphrase or salt has characters outside ASCII.',
  normalisation: 'The same text in another Unicode normalisation form is another passphrase.',
  'public-key': 'The parameters come with the public key that the result has to fit.',
  bounds: 'A number that a server chose is outside its bounds.',
  type: 'A JSON value is of another type than it has to be.',
  missing: 'A field is absent.',
};

/** The file. */
export function passphrase() {
  seed('passphrase');
  const salt = encode(randomBytes(24));
  const parameters = (iterations, others = {}) => ({
    private_key_salt: salt,
    private_key_iterations: iterations,
    ...others,
  });
  const accented = 'Schlüssel für den café-Schrank';
  const valid = [
    [
      'published-1',
      '"password", "salt", 1 round',
      ['published'],
      'password',
      { private_key_salt: 'salt', private_key_iterations: 1 },
    ],
    [
      'published-2',
      '"password", "salt", 2 rounds',
      ['published'],
      'password',
      { private_key_salt: 'salt', private_key_iterations: 2 },
    ],
    [
      'published-4096',
      '"password", "salt", 4096 rounds',
      ['published'],
      'password',
      { private_key_salt: 'salt', private_key_iterations: 4096 },
    ],
    ['usual', 'a phrase and a random salt', [], 'correct horse battery staple', parameters(1000)],
    [
      'iterations-1',
      'the fewest rounds that are accepted',
      [],
      'correct horse battery staple',
      parameters(1),
    ],
    [
      'bits',
      'private_key_bits is given',
      [],
      'correct horse battery staple',
      parameters(10, { private_key_bits: 256 }),
    ],
    [
      'other-fields',
      'other fields stand beside the parameters',
      [],
      'a phrase',
      parameters(10, { 'org.example.note': { a: 1 } }),
    ],
    ['empty', 'an empty passphrase', [], '', parameters(10)],
    ['empty-salt', 'an empty salt', [], 'a phrase', { private_key_salt: '', private_key_iterations: 10 }],
    ['spaces', 'white space at the ends counts', [], '  a phrase\n', parameters(10)],
    [
      'long',
      'longer than a block of the hash',
      [],
      'long enough to be hashed first '.repeat(20),
      parameters(10),
    ],
    ['block', '128 characters: exactly a block of the hash', [], 'b'.repeat(128), parameters(10)],
    ['block-and-one', '129 characters', [], 'b'.repeat(129), parameters(10)],
    [
      'long-salt',
      'a salt of 1000 characters',
      [],
      'a phrase',
      { private_key_salt: 's'.repeat(1000), private_key_iterations: 10 },
    ],
    [
      'salt-padded',
      'a salt with padding is another salt: it is text, not base64',
      [],
      'a phrase',
      { private_key_salt: `${salt}=`, private_key_iterations: 10 },
    ],
    [
      'unicode-salt',
      'a salt outside ASCII',
      ['unicode'],
      'a phrase',
      { private_key_salt: '塩🧂', private_key_iterations: 10 },
    ],
    ['nfc', 'composed', ['unicode', 'normalisation'], accented.normalize('NFC'), parameters(10)],
    ['nfd', 'the same, decomposed', ['unicode', 'normalisation'], accented.normalize('NFD'), parameters(10)],
    [
      'compatibility',
      'a ligature and full-width digits',
      ['unicode', 'normalisation'],
      'ﬁ１２３',
      parameters(10),
    ],
    ['nfkc', 'the same in NFKC', ['unicode', 'normalisation'], 'ﬁ１２３'.normalize('NFKC'), parameters(10)],
    ['astral', 'emoji', ['unicode'], '🔑👩‍👩‍👧‍👦', parameters(10)],
    ['nul', 'U+0000 inside', [], 'a\0b', parameters(10)],
  ].map(([id, comment, flags, text, authData]) => ({
    id,
    comment,
    flags,
    result: 'valid',
    passphrase: text,
    auth_data: authData,
    private_key: encode(derive(text, authData)),
  }));
  expectPublished(valid);
  const fitting = parameters(10);
  const key = derive('a phrase', fitting);
  const withKey = { ...fitting, public_key: encode(publicKeyOf(key)) };
  return vectorFile('passphrase', NODE_CRYPTO, NOTES, [
    ...valid,
    {
      id: 'public-key-fits',
      comment: 'the derived key fits the public key',
      flags: ['public-key'],
      result: 'valid',
      passphrase: 'a phrase',
      auth_data: withKey,
      private_key: encode(key),
    },
    ...invalid(parameters, withKey),
  ]);
}

function derive(text, { private_key_salt: salt, private_key_iterations: iterations }) {
  return pbkdf2Sync(Buffer.from(text, 'utf8'), Buffer.from(salt, 'utf8'), iterations, 32, 'sha512');
}

function expectPublished(cases) {
  const published = {
    'published-1': '867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252',
    'published-2': 'e1d9c16aa681708a45f5c7c4e215ceb66e011a2e9f0040713f18aefdb866d53c',
    'published-4096': 'd197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5',
  };
  for (const [id, hex] of Object.entries(published)) {
    const { private_key } = cases.find((one) => one.id === id);
    expectEqual(Buffer.from(private_key, 'base64').toString('hex'), hex, id);
  }
}

function invalid(parameters, withKey) {
  const refused = (id, comment, flags, code, authData, text = 'a phrase') => ({
    id,
    comment,
    flags,
    result: 'invalid',
    code,
    passphrase: text,
    auth_data: authData,
  });
  const bounds = [0, -1, 1.5, 10_000_001, 2 ** 31, 2 ** 53 - 1];
  const without = (field) =>
    Object.fromEntries(Object.entries(parameters(10)).filter(([name]) => name !== field));
  return [
    ...bounds.map((iterations) =>
      refused(
        `iterations-${iterations}`,
        `${iterations} rounds`,
        ['bounds'],
        'bad-parameters',
        parameters(iterations),
      ),
    ),
    ...[0, 128, 255, 512].map((bits) =>
      refused(
        `bits-${bits}`,
        `${bits} bits`,
        ['bounds'],
        'bad-parameters',
        parameters(10, { private_key_bits: bits }),
      ),
    ),
    refused(
      'bits-string',
      'bits as a string',
      ['type'],
      'bad-parameters',
      parameters(10, { private_key_bits: '256' }),
    ),
    refused('iterations-string', 'rounds as a string', ['type'], 'bad-parameters', parameters('1000')),
    refused('iterations-null', 'rounds are null', ['type'], 'bad-parameters', parameters(null)),
    refused(
      'salt-number',
      'the salt is a number',
      ['type'],
      'bad-parameters',
      parameters(10, { private_key_salt: 5 }),
    ),
    refused(
      'salt-null',
      'the salt is null',
      ['type'],
      'bad-parameters',
      parameters(10, { private_key_salt: null }),
    ),
    refused('no-salt', 'no salt', ['missing'], 'missing-field', without('private_key_salt')),
    refused('no-iterations', 'no rounds', ['missing'], 'missing-field', without('private_key_iterations')),
    refused('wrong', 'another passphrase', ['public-key'], 'wrong-passphrase', withKey, 'another phrase'),
    refused(
      'wrong-case',
      'upper case instead of lower',
      ['public-key'],
      'wrong-passphrase',
      withKey,
      'A phrase',
    ),
  ];
}

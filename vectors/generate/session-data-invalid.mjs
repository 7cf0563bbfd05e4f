/** `session_data` with one fault each, read strictly and in salvage mode. */
import { NODE_CRYPTO, PEER_NOTES, encode, pad, utf8, vectorFile } from './file.mjs';
import { libolm, vodozemac } from './peers.mjs';
import { randomBytes, seed } from './random.mjs';
import {
  LOW_ORDER_POINTS,
  decryptBlocks,
  encryptBlocks,
  hmac,
  padded,
  publicKeyOf,
  seal,
  sealWithSecret,
  wire,
  withHighBit,
} from './scheme.mjs';
import { peersThatDiffer } from './session-data.mjs';

const NOTES = {
  ...PEER_NOTES,
  'mac-mismatch': 'The MAC is that of something else.',
  'mac-of-ciphertext':
    'The MAC covers the ciphertext, as an early text of the specification had it; no deployed client does.',
  'mac-length': 'The MAC is not 8 bytes long.',
  base64: 'A field is not standard base64.',
  length: 'The ephemeral key is not 32 bytes.',
  padding: 'The decrypted bytes do not end in PKCS#7 padding.',
  'ciphertext-length': 'The ciphertext is empty or not whole blocks.',
  'low-order': 'A public value is a point of small order: the shared secret is all zero.',
  'high-bit': 'Bit 255 of the public value is set; X25519 ignores it.',
  malleable: 'The ciphertext was changed on the way and still decrypts: the MAC does not cover it.',
  type: 'A JSON value is of another type than it has to be.',
  missing: 'A field is absent.',
  salvage: 'Strict reading refuses this; salvage reads it and says why.',
};

const privateKey = () => Buffer.from(keys.privateKey);
const keys = {};

/** The file. */
export function sessionDataInvalid() {
  seed('session-data.invalid');
  keys.privateKey = randomBytes(32);
  // The wire form of this one has "+" and "/" in every field, so that both can be misspelt in each.
  let right;
  do right = seal(randomBytes(32), publicKeyOf(keys.privateKey), randomBytes(47));
  while (!Object.values(right.wire).every((text) => /\+.*\/|\/.*\+/.test(text)));
  return vectorFile('session-data', NODE_CRYPTO, NOTES, [
    ...macs(right),
    ...macLengths(right),
    ...misspelt(right),
    ...ephemerals(right),
    ...paddings(right),
    ...ciphertexts(right),
    ...lowOrder(),
    ...malleable(right),
    ...shapes(right),
  ]);
}

/** A case in both modes; the outcome is a code, or an object with plaintext and flags. */
function both(id, comment, flags, sessionData, { strict, salvage = strict, observe = true }) {
  return [read(id, 'strict', strict), read(`${id}-salvage`, 'salvage', salvage)];

  function read(name, mode, outcome) {
    const invalid = typeof outcome === 'string';
    const differ = observe && isWire(sessionData) ? peersThatDiffer(privateKey(), sessionData, !invalid) : [];
    return {
      id: name,
      comment,
      flags: [...flags, ...(!invalid && typeof strict === 'string' ? ['salvage'] : []), ...differ],
      result: invalid ? 'invalid' : 'valid',
      ...(invalid ? { code: outcome } : {}),
      operation: 'decrypt',
      private_key: encode(privateKey()),
      mode,
      session_data: sessionData,
      ...(invalid ? {} : { plaintext: encode(outcome.plaintext), expected_flags: outcome.flags }),
    };
  }
}

function isWire(value) {
  return ['ephemeral', 'ciphertext', 'mac'].every((field) => typeof value?.[field] === 'string');
}

function plaintextOf({ aesKey, iv, ciphertext }) {
  const blocks = decryptBlocks(aesKey, iv, ciphertext);
  return blocks.subarray(0, blocks.length - blocks.at(-1));
}

function macs(right) {
  const macOf = (mac) => wire(right.ephemeral, right.ciphertext, mac);
  const flipped = (bit) => {
    const mac = Buffer.from(right.mac.subarray(0, 8));
    mac[bit >> 3] ^= 1 << (bit & 7);
    return macOf(mac);
  };
  const other = seal(randomBytes(32), publicKeyOf(randomBytes(32)), randomBytes(20));
  const mismatch = { strict: 'mac-mismatch' };
  return [
    ...both(
      'mac-of-ciphertext',
      'the MAC is HMAC of the ciphertext',
      ['mac-of-ciphertext', 'mac-mismatch'],
      macOf(hmac(right.macKey, right.ciphertext).subarray(0, 8)),
      mismatch,
    ),
    ...both('other-key', 'encrypted for another key', ['mac-mismatch'], other.wire, mismatch),
    ...both(
      'mac-of-other',
      'the MAC of another message',
      ['mac-mismatch'],
      macOf(other.mac.subarray(0, 8)),
      mismatch,
    ),
    ...both(
      'mac-last-8',
      'the last 8 bytes of the HMAC instead of the first',
      ['mac-mismatch'],
      macOf(right.mac.subarray(24)),
      mismatch,
    ),
    ...both('mac-zero', 'a MAC of zeros', ['mac-mismatch'], macOf(Buffer.alloc(8)), mismatch),
    ...[0, 7, 31, 32, 63].flatMap((bit) =>
      both(`mac-bit-${bit}`, `bit ${bit} of the MAC is flipped`, ['mac-mismatch'], flipped(bit), mismatch),
    ),
    ...both(
      'ephemeral-bit-0',
      'the lowest bit of the ephemeral is flipped',
      ['mac-mismatch'],
      wire(
        Buffer.from(right.ephemeral.map((byte, i) => (i === 0 ? byte ^ 1 : byte))),
        right.ciphertext,
        right.mac.subarray(0, 8),
      ),
      mismatch,
    ),
  ];
}

function macLengths(right) {
  const plaintext = plaintextOf(right);
  const macOf = (mac) => wire(right.ephemeral, right.ciphertext, mac);
  const cases = [];
  for (const length of [1, 2, 4, 7, 9, 16, 31, 32]) {
    cases.push(
      ...both(
        `mac-length-${length}`,
        `the first ${length} bytes of the HMAC`,
        ['mac-length'],
        macOf(right.mac.subarray(0, length)),
        { strict: 'bad-mac-length', salvage: { plaintext, flags: ['mac-length'] } },
      ),
    );
  }
  for (const length of [1, 7, 9, 32]) {
    const mac = Buffer.from(right.mac.subarray(0, length));
    mac[length - 1] ^= 0x80;
    cases.push(
      ...both(
        `mac-length-${length}-wrong`,
        `${length} bytes, the last one wrong`,
        ['mac-length', 'mac-mismatch'],
        macOf(mac),
        {
          strict: 'bad-mac-length',
          salvage: 'mac-mismatch',
        },
      ),
    );
  }
  const wrong = { strict: 'bad-mac-length' };
  cases.push(
    ...both('mac-length-0', 'an empty MAC', ['mac-length'], macOf(Buffer.alloc(0)), wrong),
    ...both(
      'mac-length-33',
      'the HMAC and one byte more',
      ['mac-length'],
      macOf(Buffer.concat([right.mac, Buffer.alloc(1)])),
      wrong,
    ),
    ...both(
      'mac-length-64',
      'the HMAC twice',
      ['mac-length'],
      macOf(Buffer.concat([right.mac, right.mac])),
      wrong,
    ),
    both('mac-length-8', 'the right MAC', [], right.wire, { strict: { plaintext, flags: [] } })[1],
  );
  return cases;
}

function misspelt(right) {
  const spellings = [
    ['url-safe', 'the URL-safe alphabet', (text) => text.replaceAll('+', '-').replaceAll('/', '_')],
    ['space', 'a space inside', (text) => `${text.slice(0, 4)} ${text.slice(4)}`],
    ['newline', 'a line end at the end', (text) => `${text}\n`],
    ['leading-space', 'a space before', (text) => ` ${text}`],
    ['junk', 'an exclamation mark instead of a character', (text) => `${text.slice(0, 5)}!${text.slice(6)}`],
    ['nul', 'U+0000 instead of a character', (text) => `${text.slice(0, 5)}\0${text.slice(6)}`],
    [
      'full-width',
      'a full-width letter instead of a character',
      (text) => `${text.slice(0, 5)}Ａ${text.slice(6)}`,
    ],
    [
      'surrogates',
      'two characters replaced by an astral one',
      (text) => `${text.slice(0, 5)}😀${text.slice(7)}`,
    ],
    ['inner-padding', 'an equals sign inside', (text) => `${text.slice(0, 5)}=${text.slice(6)}`],
    ['over-padded', 'one equals sign too many', (text) => `${pad(text)}=`],
    ['only-padding', 'nothing but padding', () => '===='],
    [
      'impossible-length',
      'as many characters as no bytes have',
      (text) => text.slice(0, Math.floor(text.length / 4) * 4 - 3),
    ],
  ];
  return ['ephemeral', 'ciphertext', 'mac'].flatMap((field) =>
    spellings.flatMap(([id, comment, spell]) =>
      // What libolm makes of such text depends on memory that is not its own, so it is not asked.
      both(
        `${field}-${id}`,
        `${field}: ${comment}`,
        ['base64'],
        { ...right.wire, [field]: spell(right.wire[field]) },
        {
          strict: 'bad-base64',
          observe: false,
        },
      ),
    ),
  );
}

function ephemerals(right) {
  return [0, 1, 31, 33, 45, 64].flatMap((length) =>
    both(
      `ephemeral-length-${length}`,
      `an ephemeral key of ${length} bytes`,
      ['length'],
      {
        ...right.wire,
        ephemeral: encode(Buffer.concat([right.ephemeral, right.ephemeral]).subarray(0, length)),
      },
      { strict: 'bad-length', observe: false },
    ),
  );
}

function paddings(right) {
  const random = randomBytes(64);
  /** 16, 32 or 48 bytes that end in these. */
  const ending = (length, tail) => Buffer.concat([random.subarray(0, length - tail.length), tail]);
  const filled = (length, last, filler = 0xaa) => {
    const tail = Buffer.alloc(Math.min(length, Math.max(last, 1)), filler);
    tail[tail.length - 1] = last;
    return ending(length, tail);
  };
  /** [id, comment, blocks] */
  const accepted = [
    ['0', 'the last byte is 0: nothing is cut off', filled(32, 0)],
    ['17', 'the last byte is 17', ending(32, Buffer.alloc(17, 17))],
    ['20', 'the last byte is 20', filled(48, 20)],
    ['48', 'the last byte is as large as the data are long', filled(48, 48)],
    ['32-of-32', 'the same with two blocks', filled(32, 32)],
    ['2-inconsistent', 'the last byte is 2, the one before is not', filled(32, 2)],
    [
      '3-first-wrong',
      'the last byte is 3, the first of the filler is not',
      ending(32, Buffer.from([4, 3, 3])),
    ],
    ['15-zeros', 'the last byte is 15 after zeros', filled(16, 15, 0)],
    ['16-zeros', 'the last byte is 16 after zeros', filled(32, 16, 0)],
    ['16-one-wrong', '16 bytes of filler, the third wrong', ending(32, Buffer.alloc(16, 16).fill(1, 2, 3))],
    ['16-of-16', 'one block: the last byte is 16 after zeros', filled(16, 16, 0)],
  ];
  const refused = [
    ['17-of-16', 'the last byte is 17, the data are 16 bytes', filled(16, 17)],
    ['33-of-32', 'the last byte is 33, the data are 32 bytes', filled(32, 33)],
    ['128', 'the last byte is 128, the data are 48 bytes', filled(48, 128)],
    ['255', 'the last byte is 255, the data are 16 bytes', filled(16, 255)],
  ];
  const sealed = (blocks) =>
    wire(right.ephemeral, encryptBlocks(right.aesKey, right.iv, blocks), right.mac.subarray(0, 8));
  return [
    ...accepted.flatMap(([id, comment, blocks]) =>
      both(`padding-${id}`, comment, ['padding'], sealed(blocks), {
        strict: 'bad-padding',
        salvage: { plaintext: blocks.subarray(0, blocks.length - blocks.at(-1)), flags: ['padding'] },
      }),
    ),
    ...refused.flatMap(([id, comment, blocks]) =>
      both(`padding-${id}`, comment, ['padding'], sealed(blocks), { strict: 'bad-padding' }),
    ),
    ...both(
      'padding-and-mac-length',
      'a MAC of 4 bytes and padding of 0',
      ['padding', 'mac-length'],
      wire(right.ephemeral, encryptBlocks(right.aesKey, right.iv, filled(32, 0)), right.mac.subarray(0, 4)),
      { strict: 'bad-mac-length', salvage: { plaintext: filled(32, 0), flags: ['mac-length', 'padding'] } },
    ),
    both('padding-right', 'the right padding', [], right.wire, {
      strict: { plaintext: plaintextOf(right), flags: [] },
    })[1],
  ];
}

function ciphertexts(right) {
  return [0, 1, 15, 17, 31, 47].flatMap((length) =>
    both(
      `ciphertext-length-${length}`,
      `a ciphertext of ${length} bytes`,
      ['ciphertext-length'],
      wire(right.ephemeral, right.ciphertext.subarray(0, length), right.mac.subarray(0, 8)),
      // libolm reads past the end of such a ciphertext; what it finds there is not ours to record.
      { strict: 'bad-ciphertext-length', observe: false },
    ),
  );
}

function lowOrder() {
  const plaintext = utf8('readable by everybody');
  const { ciphertext, mac } = sealWithSecret(Buffer.alloc(32), plaintext);
  return LOW_ORDER_POINTS.flatMap(([name, point], i) =>
    [false, true].flatMap((high) => {
      const u = high ? withHighBit(point) : point;
      const id = `low-order-${i + 1}${high ? '-high' : ''}`;
      const comment = `${name}${high ? ', with bit 255 set' : ''}`;
      const flags = high ? ['low-order', 'high-bit'] : ['low-order'];
      return [
        ...both(id, `the ephemeral is ${comment}`, flags, wire(u, ciphertext, mac.subarray(0, 8)), {
          strict: 'low-order-key',
        }),
        {
          id: `${id}-encrypt`,
          comment: `encrypting to ${comment}`,
          flags: [...flags, ...peersThatEncryptTo(u)],
          result: 'invalid',
          code: 'low-order-key',
          operation: 'encrypt',
          public_key: encode(u),
          ephemeral_private_key: encode(randomBytes(32)),
          plaintext: encode(plaintext),
        },
      ];
    }),
  );
}

function peersThatEncryptTo(publicKey) {
  return Object.entries({ libolm, vodozemac }).flatMap(([name, peer]) => {
    try {
      peer.encrypt(publicKey, name === 'libolm' ? '' : new Uint8Array());
      return [`${name}-accepts`];
    } catch {
      return [];
    }
  });
}

function malleable(right) {
  const mac = right.mac.subarray(0, 8);
  const changed = (id, comment, ciphertext) =>
    both(id, comment, ['malleable'], wire(right.ephemeral, ciphertext, mac), {
      strict: { plaintext: plaintextOf({ ...right, ciphertext }), flags: [] },
      // libolm gives text, and these bytes are none.
      observe: false,
    });
  const flipped = Buffer.from(right.ciphertext);
  flipped[3] ^= 0x40;
  const text = utf8('{"session_key":"forged by whoever knows the public key"}');
  return [
    ...changed(
      'bit-flipped',
      'one bit of the first block is flipped: that block turns to noise, one bit flips in the next',
      flipped,
    ),
    ...changed('block-removed', 'the first block is cut out', right.ciphertext.subarray(16)),
    ...changed(
      'block-repeated',
      'the first block stands there twice',
      Buffer.concat([right.ciphertext.subarray(0, 16), right.ciphertext]),
    ),
    ...changed(
      'replaced',
      'the whole plaintext is another',
      encryptBlocks(right.aesKey, right.iv, padded(text)),
    ),
  ];
}

function shapes(right) {
  const wrong = { strict: 'bad-json' };
  const fields = ['ephemeral', 'ciphertext', 'mac'];
  const values = [
    ['null', null],
    ['number', 5],
    ['boolean', true],
    ['array', ['AAAA']],
    ['object', { length: 43 }],
  ];
  const without = (field) =>
    Object.fromEntries(Object.entries(right.wire).filter(([name]) => name !== field));
  return [
    ...[...values.slice(0, 4), ['string', JSON.stringify(right.wire)]].flatMap(([id, value]) =>
      both(`object-${id}`, `session_data is of type ${id}`, ['type'], value, wrong),
    ),
    ...fields.flatMap((field) => [
      ...values.flatMap(([id, value]) =>
        both(
          `${field}-${id}`,
          `${field} is of type ${id}`,
          ['type'],
          { ...right.wire, [field]: value },
          wrong,
        ),
      ),
      ...both(`${field}-missing`, `${field} is absent`, ['missing'], without(field), {
        strict: 'missing-field',
      }),
    ]),
    ...both('empty-object', 'all fields are absent', ['missing'], {}, { strict: 'missing-field' }),
    ...both(
      'inherited',
      'the fields stand in an object called __proto__, which is just a name',
      ['missing'],
      JSON.parse(`{"__proto__":${JSON.stringify(right.wire)}}`),
      { strict: 'missing-field' },
    ),
  ];
}

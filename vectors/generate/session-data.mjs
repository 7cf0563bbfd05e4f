/** `session_data` that is right: encrypted by each peer, and by `node:crypto` under known ephemeral keys. */
import { NODE_CRYPTO, PEER_NOTES, decode, encode, pad, setTrailingBits, utf8, vectorFile } from './file.mjs';
import { LIBOLM, VODOZEMAC, libolm, vodozemac, accepts } from './peers.mjs';
import { pick, randomBytes, randomInteger, seed } from './random.mjs';
import { agree, nonCanonical, publicKeyOf, seal, sealWithSecret, wire, withHighBit } from './scheme.mjs';

const NOTES = {
  ...PEER_NOTES,
  empty: 'The plaintext is empty: one block of padding.',
  unicode: 'The plaintext has characters outside ASCII.',
  binary: 'The plaintext is not UTF-8, which is no matter at this level.',
  large: 'The plaintext is 4 KiB or more.',
  'room-key': 'The plaintext has the shape of a backed-up room key.',
  'unclamped-key': 'Bits of the private key are set that X25519 clears, or cleared that it sets.',
  padded: 'A field is base64 with padding.',
  'trailing-bits': 'The last character of a base64 field has bits set that belong to no byte.',
  'high-bit': 'Bit 255 of the public value is set; X25519 ignores it.',
  'non-canonical': 'The public value is p or more; X25519 reduces it.',
  'unknown-field': 'The object has fields that the specification does not know.',
  deterministic: 'The ephemeral private key is known, so encryption gives exactly these bytes.',
  ...Object.fromEntries(
    Array.from({ length: 16 }, (_, i) => [`padding-${i + 1}`, `The PKCS#7 padding is ${i + 1} bytes long.`]),
  ),
};

const ALPHABETS = [
  ['Latin, accented', 'äöüßéèñçøåÆŒŁžİı'],
  ['Greek and Cyrillic', 'αβγδΩЖщъыЯ'],
  ['Hebrew and Arabic, right to left', 'שלוםمرحبا\u200f\u202e'],
  ['Han, Kana and Hangul', '鍵備份かぎカギ열쇠'],
  ['combining characters', 'e\u0301a\u0308o\u0302\u0323'],
  ['astral: emoji with joiners and musical symbols', '🔑👩‍👩‍👧‍👦𝄞🏳️‍🌈😀'],
  ['the edges of the planes', '\u0001\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff\u{10000}\u{10ffff}'],
  ['line ends and spaces of all kinds', '\r\n\t\u0085\u00a0\u2003\u2028\u2029\u3000\ufeff'],
  ['quotes, backslashes and control characters', '"\\\b\f\n\r\t\u0001\u001f/'],
];

function randomText(alphabet, length) {
  const characters = [...alphabet];
  const text = Array.from({ length }, () => pick(characters)).join('');
  // libolm's JavaScript drops a byte order mark at the very beginning.
  return text.replace(/^\ufeff/, '\u3000');
}

function roomKeyText() {
  return JSON.stringify({
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: Array.from({ length: randomInteger(3) }, () => encode(randomBytes(32))),
    sender_claimed_keys: { ed25519: encode(randomBytes(32)) },
    sender_key: encode(randomBytes(32)),
    session_key: encode(randomBytes(165)),
  });
}

/** [id, comment, flags, text] */
function texts() {
  const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('');
  const list = [['empty', 'nothing at all', ['empty'], '']];
  for (let length = 1; length <= 64; length++) {
    list.push([`ascii-${length}`, `${length} bytes of ASCII`, [], randomText(printable, length)]);
  }
  ALPHABETS.forEach(([name, alphabet], i) => {
    for (const length of [1, 7, 100]) {
      list.push([
        `unicode-${i + 1}-${length}`,
        `${name}: ${length} characters`,
        ['unicode'],
        randomText(alphabet, length),
      ]);
    }
  });
  for (let i = 1; i <= 12; i++)
    list.push([`room-key-${i}`, 'the shape of a room key', ['room-key'], roomKeyText()]);
  for (const length of [255, 256, 257, 1023, 1024]) {
    list.push([`ascii-${length}`, `${length} bytes of ASCII`, [], randomText(printable, length)]);
  }
  for (const length of [4096, 16_383, 65_535, 65_536]) {
    list.push([`large-${length}`, `${length} bytes of ASCII`, ['large'], randomText(printable, length)]);
  }
  return list;
}

/** Four private keys; the last has every bit that clamping changes the other way. */
function privateKeys() {
  const keys = Array.from({ length: 4 }, () => randomBytes(32));
  keys[3][0] |= 7;
  keys[3][31] |= 0x80;
  keys[3][31] &= 0xbf;
  return keys;
}

function encryptedBy(encrypt) {
  const keys = privateKeys();
  return texts().map(([id, comment, flags, text], i) => {
    const privateKey = keys[i % keys.length];
    const plaintext = utf8(text);
    const sessionData = encrypt(publicKeyOf(privateKey), text);
    expectBoth(privateKey, sessionData, plaintext, id);
    return {
      id,
      comment,
      flags: [...flags, `padding-${16 - (plaintext.length % 16)}`, ...(i % 4 === 3 ? ['unclamped-key'] : [])],
      result: 'valid',
      operation: 'decrypt',
      private_key: encode(privateKey),
      mode: 'strict',
      session_data: sessionData,
      plaintext: encode(plaintext),
      expected_flags: [],
    };
  });
}

/** Both peers have to read it as what it is. */
function expectBoth(privateKey, sessionData, plaintext, id) {
  if (libolm.decrypt(privateKey, sessionData) !== plaintext.toString())
    throw new Error(`libolm reads ${id} otherwise`);
  if (!vodozemac.decrypt(privateKey, sessionData).equals(plaintext))
    throw new Error(`vodozemac reads ${id} otherwise`);
}

/** Encrypted by libolm. */
export function sessionDataOfLibolm() {
  seed('session-data.libolm');
  return vectorFile('session-data', LIBOLM, NOTES, encryptedBy(libolm.encrypt));
}

/** Encrypted by vodozemac. */
export function sessionDataOfVodozemac() {
  seed('session-data.vodozemac');
  const encrypt = (publicKey, text) => vodozemac.encrypt(publicKey, utf8(text));
  return vectorFile('session-data', VODOZEMAC, NOTES, encryptedBy(encrypt));
}

/** Encrypted by `node:crypto`: with known ephemeral keys, and in every spelling that has to be read. */
export function sessionDataDerived() {
  seed('session-data.derived');
  const cases = [...deterministicCases(), ...spellingCases(), ...encryptionsThatPeersRead()];
  return vectorFile('session-data', NODE_CRYPTO, NOTES, cases);
}

/** The other way: what an encryption has to give for the peers to read it, and both of them do. */
function encryptionsThatPeersRead() {
  return texts().map(([id, comment, flags, text]) => {
    const privateKey = randomBytes(32);
    const ephemeralPrivateKey = randomBytes(32);
    const publicKey = publicKeyOf(privateKey);
    const plaintext = utf8(text);
    const sessionData = seal(ephemeralPrivateKey, publicKey, plaintext).wire;
    expectBoth(privateKey, sessionData, plaintext, id);
    const all = [...flags, 'deterministic', `padding-${16 - (plaintext.length % 16)}`];
    return encryption(
      `encrypt-text-${id}`,
      comment,
      all,
      publicKey,
      ephemeralPrivateKey,
      plaintext,
      sessionData,
    );
  });
}

function encryption(id, comment, flags, publicKey, ephemeralPrivateKey, plaintext, sessionData) {
  return {
    id,
    comment: `encrypting ${comment}`,
    flags,
    result: 'valid',
    operation: 'encrypt',
    public_key: encode(publicKey),
    ephemeral_private_key: encode(ephemeralPrivateKey),
    plaintext: encode(plaintext),
    session_data: sessionData,
  };
}

function deterministicCases() {
  const plaintexts = [
    ['empty', 'nothing at all', ['empty'], Buffer.alloc(0)],
    ...Array.from({ length: 16 }, (_, i) => [
      `bytes-${i + 1}`,
      `${i + 1} random bytes`,
      ['binary'],
      randomBytes(i + 1),
    ]),
    ['zeros', '32 bytes of zero', [], Buffer.alloc(32)],
    ['not-utf8', 'ff fe and an overlong form', ['binary'], Buffer.from('fffec0afeda080', 'hex')],
    ['room-key', 'the shape of a room key', ['room-key'], utf8(roomKeyText())],
    ['binary-5000', '5000 random bytes', ['binary', 'large'], randomBytes(5000)],
  ];
  return plaintexts.flatMap(([name, what, flags, plaintext]) => {
    const privateKey = randomBytes(32);
    const ephemeralPrivateKey = randomBytes(32);
    const publicKey = publicKeyOf(privateKey);
    const sessionData = seal(ephemeralPrivateKey, publicKey, plaintext).wire;
    if (!vodozemac.decrypt(privateKey, sessionData).equals(plaintext))
      throw new Error(`vodozemac reads ${name} otherwise`);
    if (!accepts(libolm, privateKey, sessionData)) throw new Error(`libolm refuses ${name}`);
    const all = [...flags, 'deterministic', `padding-${16 - (plaintext.length % 16)}`];
    return [
      encryption(`encrypt-${name}`, what, all, publicKey, ephemeralPrivateKey, plaintext, sessionData),
      valid(`decrypt-${name}`, `decrypting ${what}`, all, privateKey, sessionData, plaintext),
    ];
  });
}

function spellingCases() {
  const privateKey = randomBytes(32);
  const ephemeralPrivateKey = randomBytes(32);
  const plaintext = utf8('as it is spelt elsewhere');
  const {
    ephemeral,
    ciphertext,
    mac,
    wire: plain,
  } = seal(ephemeralPrivateKey, publicKeyOf(privateKey), plaintext);
  const cases = [];
  const add = (id, comment, flags, sessionData) => {
    const observed = peersThatDiffer(privateKey, sessionData, true);
    const one = valid(id, comment, [...flags, ...observed], privateKey, sessionData, plaintext);
    cases.push(one, { ...one, id: `${id}-salvage`, mode: 'salvage' });
  };
  for (const field of ['ephemeral', 'ciphertext', 'mac']) {
    add(`padded-${field}`, `${field} is padded`, ['padded'], { ...plain, [field]: pad(plain[field]) });
    if (plain[field].length % 4 === 0) continue;
    const spelt = setTrailingBits(plain[field]);
    if (!decode(spelt).equals(decode(plain[field]))) throw new Error('another value');
    add(`trailing-bits-${field}`, `${field} has trailing bits set`, ['trailing-bits'], {
      ...plain,
      [field]: spelt,
    });
  }
  add('padded-all', 'all three are padded', ['padded'], {
    ephemeral: pad(plain.ephemeral),
    ciphertext: pad(plain.ciphertext),
    mac: pad(plain.mac),
  });
  const shortMac = mac.subarray(0, 8);
  add(
    'high-bit',
    'bit 255 of the ephemeral is set',
    ['high-bit'],
    wire(withHighBit(ephemeral), ciphertext, shortMac),
  );
  for (const n of [2, 3, 9, 18]) {
    for (const high of [false, true]) {
      const point = high ? withHighBit(nonCanonical(n)) : nonCanonical(n);
      const parts = sealWithSecret(agree(privateKey, point), plaintext);
      const flags = high ? ['non-canonical', 'high-bit'] : ['non-canonical'];
      const comment = `the ephemeral is p + ${n}${high ? ' with bit 255 set' : ''}`;
      add(
        `non-canonical-${n}${high ? '-high' : ''}`,
        comment,
        flags,
        wire(point, parts.ciphertext, parts.mac.subarray(0, 8)),
      );
    }
  }
  add('unknown-fields', 'unknown fields stand beside the three', ['unknown-field'], {
    ...plain,
    unsigned: { 'org.example.note': 'not part of v1' },
    'org.example.more': [1, 2, 3],
  });
  return cases;
}

function valid(id, comment, flags, privateKey, sessionData, plaintext) {
  return {
    id,
    comment,
    flags,
    result: 'valid',
    operation: 'decrypt',
    private_key: encode(privateKey),
    mode: 'strict',
    session_data: sessionData,
    plaintext: encode(plaintext),
    expected_flags: [],
  };
}

/** Flags for the peers that do not do what `accepted` says. */
export function peersThatDiffer(privateKey, sessionData, accepted) {
  const flags = [];
  for (const [name, peer] of Object.entries({ libolm, vodozemac })) {
    const accepts_ = accepts(peer, privateKey, sessionData);
    if (accepts_ !== accepted) flags.push(`${name}-${accepts_ ? 'accepts' : 'rejects'}`);
  }
  return flags;
}

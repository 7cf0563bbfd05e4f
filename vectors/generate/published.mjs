/**
 * Values out of public documents: RFC 7748, 5869, 4231 and 8032, NIST SP 800-38A. All are computed again by
 * `node:crypto` before they are written, so a slip of the pen ends the generation.
 */
import {
  createCipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  sign,
  verify,
} from 'node:crypto';
import { PEER_NOTES, encode, expectEqual, vectorFile } from './file.mjs';
import * as edwards from './edwards.mjs';
import { libolm } from './peers.mjs';
import { randomBytes, seed } from './random.mjs';
import {
  LOW_ORDER_POINTS,
  agree,
  decryptBlocks,
  encryptBlocks,
  hmac,
  nonCanonical,
  publicKeyOf,
  withHighBit,
} from './scheme.mjs';

const bytes = (hex) => Buffer.from(hex, 'hex');
const hex = (value) => Buffer.from(value).toString('hex');
const repeat = (byte, count) => byte.repeat(count);

/** A case; `outcome` is a code or the expected fields. */
function made(id, comment, flags, inputs, outcome) {
  if (typeof outcome === 'string') return { id, comment, flags, result: 'invalid', code: outcome, ...inputs };
  return { id, comment, flags, result: 'valid', ...inputs, ...outcome };
}

/** RFC 7748. */
export function x25519() {
  seed('x25519');
  const notes = {
    'low-order': 'The public value is a point of small order: the shared secret is all zero.',
    'high-bit': 'Bit 255 of the public value is set; it is ignored.',
    'non-canonical': 'The public value is p or more; it is reduced.',
    iterated: 'The function applied to its own output.',
    'unclamped-key': 'Bits of the private key are set that are cleared before use, or cleared that are set.',
  };
  const agreements = [
    [
      'rfc7748-5.2-1',
      'section 5.2, the first',
      ['unclamped-key'],
      'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
      'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
      'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
    ],
    [
      'rfc7748-5.2-2',
      'section 5.2, the second; bit 255 of the public value is set',
      ['unclamped-key', 'high-bit'],
      '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
      'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
      '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
    ],
    [
      'rfc7748-6.1-alice',
      "section 6.1: Alice's private key, Bob's public key",
      ['unclamped-key'],
      ALICE_PRIVATE,
      BOB_PUBLIC,
      SHARED,
    ],
    [
      'rfc7748-6.1-bob',
      "section 6.1: Bob's private key, Alice's public key",
      ['unclamped-key'],
      BOB_PRIVATE,
      ALICE_PUBLIC,
      SHARED,
    ],
  ].map(([id, comment, flags, private_key, public_key, shared_secret]) => {
    expectEqual(hex(agree(bytes(private_key), bytes(public_key))), shared_secret, id);
    return made(id, comment, flags, { operation: 'agree', private_key, public_key }, { shared_secret });
  });
  const publicKeys = [
    ['rfc7748-6.1-alice-public', "section 6.1: Alice's public key", ALICE_PRIVATE, ALICE_PUBLIC],
    ['rfc7748-6.1-bob-public', "section 6.1: Bob's public key", BOB_PRIVATE, BOB_PUBLIC],
  ].map(([id, comment, private_key, public_key]) => {
    expectEqual(hex(publicKeyOf(bytes(private_key))), public_key, id);
    return made(id, comment, [], { operation: 'public-key', private_key }, { public_key });
  });
  const start = `09${repeat('00', 31)}`;
  const iterated = [
    [1, '422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079'],
    [1000, '684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51'],
  ].map(([iterations, output]) => {
    let [k, u] = [bytes(start), bytes(start)];
    for (let i = 0; i < iterations; i++) [k, u] = [agree(k, u), k];
    expectEqual(hex(k), output, `${iterations} iterations`);
    const comment = `section 5.2: ${iterations} iteration${iterations === 1 ? '' : 's'}`;
    return made(
      `rfc7748-iterated-${iterations}`,
      comment,
      ['iterated'],
      { operation: 'iterate', iterations, start },
      { output },
    );
  });
  const private_key = hex(randomBytes(32));
  const reduced = [2, 3, 9, 18].flatMap((n) =>
    [false, true].map((high) => {
      const point = high ? withHighBit(nonCanonical(n)) : nonCanonical(n);
      const plain = Buffer.alloc(32);
      plain[0] = n;
      const shared_secret = hex(agree(bytes(private_key), point));
      expectEqual(shared_secret, hex(agree(bytes(private_key), plain)), `p + ${n}`);
      return made(
        `non-canonical-${n}${high ? '-high' : ''}`,
        `p + ${n}${high ? ' with bit 255 set' : ''} is ${n}`,
        high ? ['non-canonical', 'high-bit'] : ['non-canonical'],
        { operation: 'agree', private_key, public_key: hex(point) },
        { shared_secret },
      );
    }),
  );
  const lowOrder = LOW_ORDER_POINTS.flatMap(([name, point], i) =>
    [false, true].map((high) =>
      made(
        `low-order-${i + 1}${high ? '-high' : ''}`,
        `${name}${high ? ', with bit 255 set' : ''}`,
        high ? ['low-order', 'high-bit'] : ['low-order'],
        { operation: 'agree', private_key, public_key: hex(high ? withHighBit(point) : point) },
        'low-order-key',
      ),
    ),
  );
  const origin = { name: 'RFC 7748', version: '2016' };
  return vectorFile('x25519', origin, notes, [
    ...agreements,
    ...publicKeys,
    ...iterated,
    ...reduced,
    ...lowOrder,
  ]);
}

const ALICE_PRIVATE = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a';
const ALICE_PUBLIC = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a';
const BOB_PRIVATE = '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb';
const BOB_PUBLIC = 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f';
const SHARED = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';

/** RFC 5869, the three with SHA-256. */
export function hkdfSha256() {
  const sequence = (from, to) => hex(Uint8Array.from({ length: to - from + 1 }, (_, i) => from + i));
  const cases = [
    [
      'rfc5869-a1',
      'appendix A.1',
      { ikm: repeat('0b', 22), salt: sequence(0, 12), info: sequence(0xf0, 0xf9), length: 42 },
      '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
      '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    ],
    [
      'rfc5869-a2',
      'appendix A.2: longer inputs and output',
      { ikm: sequence(0, 0x4f), salt: sequence(0x60, 0xaf), info: sequence(0xb0, 0xff), length: 82 },
      '06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244',
      'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
    ],
    [
      'rfc5869-a3',
      'appendix A.3: no salt, no info, as in the scheme',
      { ikm: repeat('0b', 22), salt: '', info: '', length: 42 },
      '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
      '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    ],
  ].map(([id, comment, inputs, prk, okm]) => {
    const [ikm, salt, info] = [inputs.ikm, inputs.salt, inputs.info].map(bytes);
    expectEqual(hex(hmac(salt.length ? salt : Buffer.alloc(32), ikm)), prk, `${id} prk`);
    expectEqual(hex(hkdfSync('sha256', ikm, salt, info, inputs.length)), okm, `${id} okm`);
    return made(id, comment, [], inputs, { prk, okm });
  });
  return vectorFile('hkdf-sha256', { name: 'RFC 5869', version: '2010' }, {}, cases);
}

/** RFC 4231. */
export function hmacSha256() {
  const text = (value) => hex(Buffer.from(value));
  const notes = { truncated: 'Only the first bytes of the MAC are given.' };
  const cases = [
    [repeat('0b', 20), text('Hi There'), 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'],
    [
      text('Jefe'),
      text('what do ya want for nothing?'),
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
    [repeat('aa', 20), repeat('dd', 50), '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe'],
    [
      '0102030405060708090a0b0c0d0e0f10111213141516171819',
      repeat('cd', 50),
      '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b',
    ],
    [repeat('0c', 20), text('Test With Truncation'), 'a3b6167473100ee06e0c796c2955552b'],
    [
      repeat('aa', 131),
      text('Test Using Larger Than Block-Size Key - Hash Key First'),
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    ],
    [
      repeat('aa', 131),
      text(
        'This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.',
      ),
      '9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2',
    ],
  ].map(([key, message, mac], i) => {
    const id = `rfc4231-${i + 1}`;
    expectEqual(hex(hmac(bytes(key), bytes(message))).slice(0, mac.length), mac, id);
    return made(id, `test case ${i + 1}`, mac.length < 64 ? ['truncated'] : [], { key, message }, { mac });
  });
  return vectorFile('hmac-sha256', { name: 'RFC 4231', version: '2005' }, notes, cases);
}

/** NIST SP 800-38A, and PKCS#7 around it. */
export function aes256Cbc() {
  seed('aes-256-cbc');
  const notes = {
    'pkcs7-good': 'Right padding.',
    'pkcs7-bad': 'The decrypted bytes do not end in PKCS#7 padding.',
  };
  const key = '603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4';
  const iv = '000102030405060708090a0b0c0d0e0f';
  const plaintext =
    '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710';
  const ciphertext =
    'f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b';
  expectEqual(hex(encryptBlocks(bytes(key), bytes(iv), bytes(plaintext))), ciphertext, 'F.2.5');
  expectEqual(hex(decryptBlocks(bytes(key), bytes(iv), bytes(ciphertext))), plaintext, 'F.2.6');
  const cases = [
    made(
      'nist-f.2.5',
      'F.2.5: CBC-AES256.Encrypt',
      [],
      { operation: 'encrypt', padding: 'none', key, iv, plaintext },
      { ciphertext },
    ),
    made(
      'nist-f.2.6',
      'F.2.6: CBC-AES256.Decrypt',
      [],
      { operation: 'decrypt', padding: 'none', key, iv, ciphertext },
      { plaintext },
    ),
  ];
  for (let length = 0; length <= 33; length++) {
    const [ownKey, ownIv, message] = [32, 16, length].map((count) => randomBytes(count));
    const cipher = createCipheriv('aes-256-cbc', ownKey, ownIv);
    const encrypted = hex(Buffer.concat([cipher.update(message), cipher.final()]));
    const parameters = { padding: 'pkcs7', key: hex(ownKey), iv: hex(ownIv) };
    cases.push(
      made(
        `pkcs7-encrypt-${length}`,
        `${length} bytes`,
        ['pkcs7-good'],
        { operation: 'encrypt', ...parameters, plaintext: hex(message) },
        { ciphertext: encrypted },
      ),
      made(
        `pkcs7-decrypt-${length}`,
        `${length} bytes`,
        ['pkcs7-good'],
        { operation: 'decrypt', ...parameters, ciphertext: encrypted },
        { plaintext: hex(message) },
      ),
    );
  }
  const endings = [
    ['0', 'the last byte is 0', '00'],
    ['17', 'the last byte is 17', repeat('11', 17)],
    ['255', 'the last byte is 255', 'ff'],
    ['2', 'the last byte is 2, the one before is 1', '0102'],
    ['16', '16 bytes, the first wrong', `0f${repeat('10', 15)}`],
  ];
  for (const [id, comment, ending] of endings) {
    const blocks = Buffer.concat([randomBytes(32 - ending.length / 2), bytes(ending)]);
    const encrypted = hex(encryptBlocks(bytes(key), bytes(iv), blocks));
    cases.push(
      made(
        `pkcs7-bad-${id}`,
        comment,
        ['pkcs7-bad'],
        { operation: 'decrypt', padding: 'pkcs7', key, iv, ciphertext: encrypted },
        'bad-padding',
      ),
    );
  }
  return vectorFile('aes-256-cbc', { name: 'NIST SP 800-38A', version: '2001' }, notes, cases);
}

/** Encodings of the eight points of small order on the Edwards curve. */
export const SMALL_ORDER_KEYS = [
  ['order 1: the neutral element', `01${repeat('00', 31)}`],
  ['order 2', `ec${repeat('ff', 30)}7f`],
  ['order 4', repeat('00', 32)],
  ['order 4, the other sign', `${repeat('00', 31)}80`],
  ['order 8', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'],
  ['order 8, the other sign', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85'],
  ['order 8, the second', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'],
  ['order 8, the second, the other sign', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa'],
];

/** R is the neutral element and S is 0: what a cofactored check accepts for a small-order key and any message. */
export const FORGED_SIGNATURE = `01${repeat('00', 63)}`;

/** An Ed25519 key of its seed, by `node:crypto`. */
export function signingKey(seedBytes) {
  const der = Buffer.concat([bytes('302e020100300506032b657004220420'), seedBytes]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return { publicKey: Buffer.from(spki.subarray(-32)), sign: (message) => sign(null, message, privateKey) };
}

/** Whether `node:crypto` takes a signature. */
function opensslVerifies(publicKey, message, signature) {
  const key = Buffer.concat([bytes('302a300506032b6570032100'), publicKey]);
  return verify(null, message, createPublicKey({ key, format: 'der', type: 'spki' }), signature);
}

/** RFC 8032. */
export function ed25519() {
  seed('ed25519');
  const notes = {
    ...PEER_NOTES,
    forged: 'Nobody has signed this message.',
    'small-order':
      'The public key is a point of small order: under a lenient check it has "signed" every message.',
    malleable: 'S is given plus the order of the group; a lenient check accepts it.',
    'mixed-order':
      "The public key or R is a point of the base point's group plus a point of small order. The cofactored equation holds.",
    'small-order-r': 'R is a point of small order. The cofactored equation holds.',
    'non-canonical': 'A y-coordinate is p or more.',
    'openssl-accepts': 'OpenSSL 3 accepts this; observed when the file was made.',
  };
  const abc = hex(createHash('sha512').update('abc').digest());
  const cases = [
    [
      'rfc8032-empty',
      'test 1: an empty message',
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      'rfc8032-1-byte',
      'test 2: one byte',
      '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      '72',
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ],
    [
      'rfc8032-2-bytes',
      'test 3: two bytes',
      'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      'af82',
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ],
    [
      'rfc8032-sha-abc',
      'test SHA(abc): the SHA-512 of "abc" as message',
      '833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42',
      abc,
      'dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704',
    ],
  ].flatMap(([id, comment, seedHex, message, signature]) => {
    const key = signingKey(bytes(seedHex));
    const public_key = hex(key.publicKey);
    expectEqual(hex(key.sign(bytes(message))), signature, id);
    return [
      made(
        `${id}-sign`,
        comment,
        [],
        { operation: 'sign', seed: seedHex, message },
        { public_key, signature },
      ),
      made(`${id}-verify`, comment, [], { operation: 'verify', public_key, message, signature }, {}),
    ];
  });
  return vectorFile('ed25519', { name: 'RFC 8032', version: '2017' }, notes, [
    ...cases,
    ...forgeries(),
    ...torsion(),
  ]);
}

function refused(id, comment, flags, publicKey, text, signed) {
  const accepting = [
    ...(opensslVerifies(publicKey, text, signed) ? ['openssl-accepts'] : []),
    ...(libolm.verifies(encode(publicKey), new Uint8Array(text), encode(signed)) ? ['libolm-accepts'] : []),
  ];
  const inputs = {
    operation: 'verify',
    public_key: hex(publicKey),
    message: hex(text),
    signature: hex(signed),
  };
  return made(id, comment, [...flags, ...accepting], inputs, 'bad-signature');
}

function forgeries() {
  const key = signingKey(randomBytes(32));
  const message = Buffer.from('what was signed');
  const signature = key.sign(message);
  const flip = (value, bit) =>
    Buffer.from(value.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
  const s = edwards.toNumber(signature.subarray(32)) + edwards.GROUP_ORDER;
  const overflowing = Buffer.concat([signature.subarray(0, 32), edwards.toBytes(s)]);
  return [
    refused(
      'message-changed',
      'another message',
      ['forged'],
      key.publicKey,
      Buffer.from('what was not signed'),
      signature,
    ),
    refused('message-empty', 'an empty message', ['forged'], key.publicKey, Buffer.alloc(0), signature),
    ...[0, 255, 256, 511].map((bit) =>
      refused(
        `bit-${bit}`,
        `bit ${bit} of the signature is flipped`,
        ['forged'],
        key.publicKey,
        message,
        flip(signature, bit),
      ),
    ),
    refused(
      'other-key',
      "another's public key",
      ['forged'],
      signingKey(randomBytes(32)).publicKey,
      message,
      signature,
    ),
    refused(
      'sign-bit',
      'the sign of the public key is flipped',
      ['forged'],
      flip(key.publicKey, 255),
      message,
      signature,
    ),
    refused('zero-signature', 'a signature of zeros', ['forged'], key.publicKey, message, Buffer.alloc(64)),
    refused(
      's-plus-order',
      'S plus the order of the group',
      ['malleable'],
      key.publicKey,
      message,
      overflowing,
    ),
    ...SMALL_ORDER_KEYS.map(([name, publicKey], i) =>
      refused(
        `small-order-${i + 1}`,
        `the public key has ${name}`,
        ['small-order', 'forged'],
        bytes(publicKey),
        message,
        bytes(FORGED_SIGNATURE),
      ),
    ),
  ];
}

/**
 * Signatures of those who hold the key, but with a part of small order in the public key or R: the cofactored
 * equation holds for all, the cofactorless one, which libolm and OpenSSL check, where those parts add up to nothing.
 */
function torsion() {
  const seedBytes = randomBytes(32);
  const a = edwards.scalarOf(seedBytes);
  const key = signingKey(seedBytes).publicKey;
  const nonce = edwards.toNumber(randomBytes(32)) % edwards.GROUP_ORDER;
  const r = edwards.multiply(nonce, edwards.BASE_POINT);
  expectEqual(hex(edwards.encode(edwards.multiply(a, edwards.BASE_POINT))), hex(key), 'a public key');
  const small = SMALL_ORDER_KEYS.map(([, point]) => edwards.decode(bytes(point)));
  const orders = new Map([
    [2, small[1]],
    [4, small[2]],
    [8, small[4]],
  ]);
  const plus = (point, other) => edwards.encode(edwards.add(point, other));
  const [neutral] = small;

  /** A case whose message makes the cofactorless equation come out as said. */
  const signed = (id, comment, flags, publicKey, rBytes, rNonce, cofactorless) => {
    for (let i = 0; ; i++) {
      const message = Buffer.from(`message ${i}`);
      const signature = edwards.signAround(rBytes, rNonce, publicKey, a, message);
      const holds = edwards.equations(publicKey, message, signature);
      expectEqual(holds.cofactored, true, id);
      if (holds.cofactorless !== cofactorless) continue;
      // Both compare the bytes of R, so another spelling of the right point is refused.
      const canonical = hex(edwards.encode(edwards.decode(rBytes))) === hex(rBytes);
      expectEqual(opensslVerifies(publicKey, message, signature), cofactorless && canonical, id);
      return refused(id, comment, flags, publicKey, message, signature);
    }
  };
  const mixed = [...orders].flatMap(([order, point]) => {
    const mixedKey = plus(edwards.decode(key), point);
    const mixedR = plus(r, point);
    const name = `a part of order ${order}`;
    const flags = ['mixed-order'];
    return [
      signed(
        `mixed-order-key-${order}`,
        `the public key has ${name}, which k does not cancel`,
        flags,
        mixedKey,
        edwards.encode(r),
        nonce,
        false,
      ),
      signed(
        `mixed-order-key-${order}-cancelled`,
        `the public key has ${name}, and k is a multiple of it`,
        flags,
        mixedKey,
        edwards.encode(r),
        nonce,
        true,
      ),
      signed(`mixed-order-r-${order}`, `R has ${name}`, flags, key, mixedR, nonce, false),
      signed(
        `mixed-order-both-${order}`,
        `both have ${name}, and they do not cancel each other`,
        flags,
        mixedKey,
        mixedR,
        nonce,
        false,
      ),
      signed(
        `mixed-order-both-${order}-cancelled`,
        `both have ${name}, and they cancel each other`,
        flags,
        mixedKey,
        mixedR,
        nonce,
        true,
      ),
      signed(
        `small-order-r-${order}`,
        `R has order ${order}`,
        ['small-order-r'],
        key,
        edwards.encode(point),
        0n,
        false,
      ),
    ];
  });
  const spelt = (y) => edwards.toBytes(2n ** 255n - 19n + y);
  return [
    ...mixed,
    signed(
      'neutral-r',
      'R is the neutral element, so S gives the private key away',
      ['small-order-r'],
      key,
      edwards.encode(neutral),
      0n,
      true,
    ),
    signed(
      'non-canonical-r',
      'R is the neutral element with y = p + 1',
      ['small-order-r', 'non-canonical'],
      key,
      spelt(1n),
      0n,
      true,
    ),
    ...[0n, 1n].map((y) =>
      refused(
        `non-canonical-key-${y}`,
        `the public key has y = p + ${y}, of small order`,
        ['small-order', 'non-canonical', 'forged'],
        spelt(y),
        Buffer.from('what was signed'),
        bytes(FORGED_SIGNATURE),
      ),
    ),
  ];
}

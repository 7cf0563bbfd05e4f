/** The encrypted key export: files of vodozemac's client, of `node:crypto`, broken ones, and what importers take. */
import { createCipheriv, createHmac, pbkdf2Sync } from 'node:crypto';
import { NODE_CRYPTO, PEER_NOTES, decode, encode, pad, setTrailingBits, vectorFile } from './file.mjs';
import { LIBOLM, Sdk, VODOZEMAC } from './peers.mjs';
import { randomBytes, seed } from './random.mjs';
import { device, megolmSession } from './room-key.mjs';

const NOTES = {
  ...PEER_NOTES,
  unicode: 'The passphrase or an id has characters outside ASCII.',
  armour: 'About the text around the base64.',
  header: 'About the bytes in front of the ciphertext.',
  damage: 'The MAC does not fit: another passphrase, or a changed byte.',
  json: 'About what was encrypted.',
  entries: 'Not every entry is a whole room key.',
  'claimed-key': 'About the claimed Ed25519 key of the sender.',
  'shared-history': 'About the spellings of shared_history.',
};

const BEGIN = '-----BEGIN MEGOLM SESSION DATA-----';
const END = '-----END MEGOLM SESSION DATA-----';

/** An exported session of libolm. */
function session(index = 0) {
  const { session_id, sessionKeys } = megolmSession([index]);
  const sender = device();
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id: '!room:example.org',
    sender_claimed_keys: { ed25519: sender.ed25519 },
    sender_key: sender.curve25519,
    session_id,
    session_key: sessionKeys[0],
  };
}

const readable = (sessions) => sessions.map((exported) => ({ exported, expected_flags: [] }));

/** Files that the client of vodozemac wrote, from sessions given to it and from its own store. */
export async function keyExportOfVodozemac() {
  seed('key-export.vodozemac');
  const sessions = [session(), session(7)];
  const json = JSON.stringify(sessions);
  // The peer parses what it is given, and writes what it has made of it.
  const rewritten = (exported) => ({ ...exported, shared_history: false, 'm.shared_history': false });
  const phrases = [
    ['ascii', 'correct horse battery staple', []],
    ['unicode', 'Schlüssel 🔑', ['unicode']],
    ['spaces', ' spaces around ', []],
    ['long', 'a phrase longer than a block of the hash '.repeat(5), []],
    ['nul', 'a\0b', []],
    ['empty', '', []],
  ];
  const cases = phrases.map(([id, passphrase, flags]) => ({
    id,
    comment: `two sessions under ${JSON.stringify(passphrase.slice(0, 40))}`,
    flags,
    result: 'valid',
    operation: 'decrypt',
    passphrase,
    file: Sdk.OlmMachine.encryptExportedRoomKeys(json, passphrase, 100),
    entries: readable(sessions.map(rewritten)),
  }));
  cases.push({
    id: 'store',
    comment: 'a session that went through the store of the client',
    flags: [],
    result: 'valid',
    operation: 'decrypt',
    passphrase: 'a phrase',
    file: Sdk.OlmMachine.encryptExportedRoomKeys(await throughStore(sessions[0]), 'a phrase', 100),
    entries: readable([rewritten(sessions[0])]),
  });
  cases.push({
    id: 'none',
    comment: 'no session',
    flags: [],
    result: 'valid',
    operation: 'decrypt',
    passphrase: 'a phrase',
    file: Sdk.OlmMachine.encryptExportedRoomKeys('[]', 'a phrase', 100),
    entries: [],
  });
  return vectorFile('key-export', VODOZEMAC, NOTES, cases);
}

async function throughStore(exported) {
  const machine = await newMachine();
  try {
    await machine.importExportedRoomKeys(JSON.stringify([exported]), () => undefined);
    return await machine.exportRoomKeys(() => true);
  } finally {
    machine.close();
  }
}

function newMachine() {
  return Sdk.OlmMachine.initialize(new Sdk.UserId('@reader:example.org'), new Sdk.DeviceId('READER'));
}

/** The bytes of a file, by `node:crypto`. */
function seal(plaintext, { rounds = 10, roundsField = rounds, version = 1, iv = newIv() } = {}) {
  const salt = randomBytes(16);
  const keys = pbkdf2Sync('a phrase', salt, rounds, 64, 'sha512');
  const cipher = createCipheriv('aes-256-ctr', keys.subarray(0, 32), iv);
  const n = Buffer.alloc(4);
  n.writeUInt32BE(roundsField);
  const sealed = [cipher.update(plaintext), cipher.final()];
  const covered = Buffer.concat([Buffer.of(version), salt, iv, n, ...sealed]);
  const mac = createHmac('sha256', keys.subarray(32)).update(covered).digest();
  return Buffer.concat([covered, mac]);
}

function newIv() {
  const iv = randomBytes(16);
  iv[8] &= 0x7f;
  return iv;
}

const armour = (base64, end = '\n') => `${BEGIN}${end}${base64}${end}${END}${end}`;

function whetherRead(file) {
  try {
    Sdk.OlmMachine.decryptExportedRoomKeys(file, 'a phrase');
    return 'vodozemac-accepts';
  } catch {
    return 'vodozemac-rejects';
  }
}

/** Files that `node:crypto` made: every form that is to be read. */
export function keyExportDerived() {
  seed('key-export.derived');
  const exported = session();
  const json = JSON.stringify([exported]);
  const bytes = seal(json);
  const text = pad(encode(bytes));
  const wrap = (width, end) => text.match(new RegExp(`.{1,${width}}`, 'g')).join(end);
  const forms = [
    ['one-line', 'one long line', armour(text)],
    ['unpadded', 'without padding', armour(encode(bytes))],
    ['wrapped-64', 'lines of 64 characters', armour(wrap(64, '\n'))],
    ['crlf', 'line ends of Windows', armour(wrap(76, '\r\n'), '\r\n')],
    ['spaces', 'white space between the characters', armour(wrap(50, ' \t \n'))],
    ['byte-order-mark', 'a byte order mark in front', `\ufeff${armour(text)}`],
    ['text-around', 'text before and after', `Dear Alice,\n\n${armour(text)}\nYours, Bob\n`],
    ['no-last-newline', 'no newline at the end', armour(text).trimEnd()],
    ['line-spaces', 'spaces behind the first and the last line', `${BEGIN} \n${text}\n${END} \n`],
  ].map(([id, comment, file]) => [id, comment, ['armour'], file]);
  const headers = [
    ['rounds-1', '1 round', seal(json, { rounds: 1 })],
    ['rounds-100000', '100,000 rounds', seal(json, { rounds: 100_000 })],
    [
      'iv-ones',
      'an IV of ones, bit 63 set: the counter overflows',
      seal(json, { iv: Buffer.alloc(16, 0xff) }),
    ],
    [
      'iv-64',
      'the low 64 bits of the counter overflow',
      seal(json, { iv: Buffer.alloc(16, 0xff).fill(0, 0, 8) }),
    ],
  ].map(([id, comment, made]) => [id, comment, ['header'], armour(encode(made))]);
  const cases = [...forms, ...headers].map(([id, comment, flags, file]) =>
    decryption(id, comment, [...flags, whetherRead(file)], file, readable([exported])),
  );
  const anonymous = { ...exported };
  delete anonymous.sender_key;
  const mixed = [
    exported,
    null,
    anonymous,
    { ...exported, session_key: 'AAAA' },
    { ...exported, session_id: 'x' },
  ];
  const file = armour(encode(seal(JSON.stringify(mixed))));
  const entries = [
    { exported, expected_flags: [] },
    { code: 'bad-json' },
    { exported: anonymous, expected_flags: ['missing-sender-key'] },
    { code: 'bad-session-key' },
    { code: 'session-id-mismatch' },
  ];
  const comment = 'a room key beside entries that are none';
  cases.push(decryption('entries', comment, ['entries', whetherRead(file)], file, entries));
  return vectorFile('key-export', NODE_CRYPTO, NOTES, cases);
}

function decryption(id, comment, flags, file, entries) {
  const operation = { operation: 'decrypt', passphrase: 'a phrase' };
  return { id, comment, flags, result: 'valid', ...operation, file, entries };
}

/** Files that are refused. */
export function keyExportInvalid() {
  seed('key-export.invalid');
  const json = JSON.stringify([session()]);
  const bytes = seal(json);
  const text = encode(bytes);
  const changed = (at) => {
    const copy = Buffer.from(bytes);
    copy[at < 0 ? copy.length + at : at] ^= 1;
    return armour(encode(copy));
  };
  const sealed = (plaintext, options) => armour(encode(seal(plaintext, options)));
  const cases = [
    ['empty', 'nothing', 'bad-export-file', 'armour', ''],
    ['another-file', 'a JSON file', 'bad-export-file', 'armour', '{"rooms":{}}'],
    ['no-begin', 'no first line', 'bad-export-file', 'armour', `${text}\n${END}\n`],
    ['no-end', 'no last line', 'bad-export-file', 'armour', `${BEGIN}\n${text}\n`],
    [
      'other-end',
      'another last line',
      'bad-export-file',
      'armour',
      `${BEGIN}\n${text}\n-----END PGP MESSAGE-----\n`,
    ],
    ['no-newline', 'base64 behind the first line', 'bad-export-file', 'armour', `${BEGIN}${text}\n${END}\n`],
    ['no-body', 'nothing between the lines', 'bad-export-file', 'armour', `${BEGIN}\n${END}\n`],
    ['url-safe', 'the URL-safe alphabet', 'bad-export-file', 'armour', armour(`_${text.slice(1)}`)],
    [
      'junk',
      'a character outside the alphabet',
      'bad-export-file',
      'armour',
      armour(`${text.slice(0, 9)}!${text.slice(10)}`),
    ],
    [
      'padding-inside',
      'padding in the middle',
      'bad-export-file',
      'armour',
      armour(`${text.slice(0, 8)}==${text.slice(10)}`),
    ],
    ['over-padded', 'too much padding', 'bad-export-file', 'armour', armour(`${text}===`)],
    [
      'short',
      '68 bytes: a byte too few for an empty plaintext',
      'bad-export-file',
      'header',
      armour(encode(bytes.subarray(0, 68))),
    ],
    ['version-0', 'version 0', 'bad-export-file', 'header', sealed(json, { version: 0 })],
    ['version-2', 'version 2', 'bad-export-file', 'header', sealed(json, { version: 2 })],
    ['rounds-0', 'no rounds', 'bad-export-file', 'header', sealed(json, { roundsField: 0 })],
    [
      'rounds-10000001',
      '10,000,001 rounds',
      'bad-export-file',
      'header',
      sealed(json, { roundsField: 10_000_001 }),
    ],
    [
      'rounds-max',
      '2^32 - 1 rounds',
      'bad-export-file',
      'header',
      sealed(json, { roundsField: 2 ** 32 - 1 }),
    ],
    ['salt-changed', 'a bit of the salt', 'wrong-passphrase', 'damage', changed(1)],
    ['iv-changed', 'a bit of the IV', 'wrong-passphrase', 'damage', changed(20)],
    ['rounds-changed', 'a round more', 'wrong-passphrase', 'damage', changed(36)],
    ['ciphertext-changed', 'a bit of the ciphertext', 'wrong-passphrase', 'damage', changed(100)],
    ['mac-changed', 'a bit of the MAC', 'wrong-passphrase', 'damage', changed(-1)],
    ['cut', 'a line is missing', 'wrong-passphrase', 'damage', armour(text.slice(0, 200) + text.slice(296))],
    ['not-utf8', 'no UTF-8 inside', 'bad-utf8', 'json', sealed(Buffer.of(0x5b, 0xff, 0x5d))],
    ['not-json', 'no JSON inside', 'bad-json', 'json', sealed('hello')],
    ['nothing-inside', 'nothing inside', 'bad-json', 'json', sealed('')],
    ['object-inside', 'an object inside', 'bad-json', 'json', sealed('{}')],
  ].map(([id, comment, code, flag, file]) => ({
    id,
    comment,
    flags: [flag],
    result: 'invalid',
    code,
    operation: 'decrypt',
    passphrase: 'a phrase',
    file,
  }));
  const file = armour(text);
  for (const [id, passphrase] of [
    ['wrong', 'another phrase'],
    ['wrong-case', 'A phrase'],
    ['wrong-space', 'a phrase '],
    ['wrong-empty', ''],
  ]) {
    const refused = { result: 'invalid', code: 'wrong-passphrase', operation: 'decrypt', passphrase, file };
    cases.push({ id, comment: 'another passphrase', flags: ['damage'], ...refused });
  }
  // The peer has no bound: it would work on these for hours.
  const endless = ['rounds-10000001', 'rounds-max'];
  for (const one of cases) {
    if (one.passphrase === 'a phrase' && !endless.includes(one.id)) one.flags.push(whetherRead(one.file));
  }
  return vectorFile('key-export', NODE_CRYPTO, NOTES, cases);
}

/** Entries on their way into a file, and what the strictest importer makes of a file with each. */
export async function keyExportPrepare() {
  seed('key-export.prepare');
  const right = session(3);
  const noPoint = encode(Buffer.from([2, ...new Uint8Array(31)]));
  const keyOf = (publicKey) => encode(Buffer.concat([decode(right.session_key).subarray(0, 133), publicKey]));
  const without = (name) => Object.fromEntries(Object.entries(right).filter(([field]) => field !== name));
  const shared = (value) => ({ shared_history: value, 'm.shared_history': value });
  const written = [
    ['right', 'as it should be', [], right, right, []],
    [
      'unknown-field',
      'unknown fields are kept',
      [],
      { ...right, 'org.example': { a: [1] } },
      { ...right, 'org.example': { a: [1] } },
      [],
    ],
    [
      'unicode-room',
      'a room id outside ASCII',
      ['unicode'],
      { ...right, room_id: '!部屋' },
      { ...right, room_id: '!部屋' },
      [],
    ],
    [
      'chain',
      'forwarded once',
      [],
      { ...right, forwarding_curve25519_key_chain: [right.sender_key] },
      { ...right, forwarding_curve25519_key_chain: [right.sender_key] },
      [],
    ],
    ['no-chain', 'no chain at all', [], without('forwarding_curve25519_key_chain'), right, []],
    [
      'padded',
      'padded base64',
      [],
      { ...right, sender_key: pad(right.sender_key), session_key: pad(right.session_key) },
      right,
      [],
    ],
    [
      'trailing-bits',
      'set bits behind the sender key',
      [],
      { ...right, sender_key: setTrailingBits(right.sender_key) },
      right,
      [],
    ],
    [
      'claimed-none',
      'no claimed key',
      ['claimed-key'],
      { ...right, sender_claimed_keys: {} },
      { ...right, sender_claimed_keys: {} },
      [],
    ],
    [
      'claimed-missing',
      'no claimed keys at all',
      ['claimed-key'],
      without('sender_claimed_keys'),
      { ...right, sender_claimed_keys: {} },
      ['missing-sender-claimed-keys'],
    ],
    [
      'claimed-no-point',
      'a claimed key that is no point of the curve',
      ['claimed-key'],
      { ...right, sender_claimed_keys: { ed25519: noPoint } },
      { ...right, sender_claimed_keys: {} },
      ['unusable-claimed-key'],
    ],
    [
      'claimed-empty',
      'an empty claimed key',
      ['claimed-key'],
      { ...right, sender_claimed_keys: { ed25519: '' } },
      { ...right, sender_claimed_keys: {} },
      ['unusable-claimed-key'],
    ],
    [
      'claimed-number',
      'a claimed key that is a number',
      ['claimed-key'],
      { ...right, sender_claimed_keys: { ed25519: 5 } },
      { ...right, sender_claimed_keys: {} },
      ['unusable-claimed-key'],
    ],
    [
      'chain-empty-key',
      'an empty key in the chain',
      [],
      { ...right, forwarding_curve25519_key_chain: [''] },
      right,
      ['unusable-forwarding-chain'],
    ],
    [
      'chain-null',
      'a chain that is null',
      [],
      { ...right, forwarding_curve25519_key_chain: null },
      right,
      ['unusable-forwarding-chain'],
    ],
    [
      'shared',
      'shared_history as specified',
      ['shared-history'],
      { ...right, shared_history: true },
      { ...right, ...shared(true) },
      [],
    ],
    [
      'shared-both',
      'the two unstable spellings together',
      ['shared-history'],
      { ...right, 'm.shared_history': false, 'org.matrix.msc3061.shared_history': true },
      { ...right, ...shared(false) },
      [],
    ],
    [
      'shared-text',
      'm.shared_history that is text',
      ['shared-history'],
      { ...right, 'm.shared_history': 'true' },
      right,
      ['bad-shared-history'],
    ],
    [
      'lone-surrogate-field',
      'an unknown name that is no Unicode',
      [],
      { ...right, 'a\ud800': 1 },
      right,
      ['unknown-fields-dropped'],
    ],
  ];
  const refused = [
    ['null', 'no object', 'bad-json', null],
    ['array', 'an array', 'bad-json', []],
    ['algorithm', 'another algorithm', 'unsupported-algorithm', { ...right, algorithm: 'm.megolm.v2' }],
    ['algorithm-missing', 'no algorithm', 'missing-field', without('algorithm')],
    ['room-missing', 'no room id', 'missing-field', without('room_id')],
    ['room-sigil', 'a room id without !', 'bad-json', { ...right, room_id: 'room:example.org' }],
    ['room-empty', 'an empty room id', 'bad-json', { ...right, room_id: '' }],
    ['room-nul', 'a room id with U+0000', 'bad-json', { ...right, room_id: '!a\0:example.org' }],
    ['room-surrogate', 'a room id with a lone surrogate', 'bad-json', { ...right, room_id: '!\ud800' }],
    ['sender-missing', 'no sender key', 'missing-field', without('sender_key')],
    ['sender-empty', 'an empty sender key', 'bad-length', { ...right, sender_key: '' }],
    [
      'sender-short',
      'a sender key of 31 bytes',
      'bad-length',
      { ...right, sender_key: encode(Buffer.alloc(31, 7)) },
    ],
    [
      'sender-url-safe',
      'a URL-safe sender key',
      'bad-base64',
      { ...right, sender_key: `-_${right.sender_key.slice(2)}` },
    ],
    ['session-key-missing', 'no session key', 'missing-field', without('session_key')],
    ['session-key-short', 'a session key of 3 bytes', 'bad-session-key', { ...right, session_key: 'AAAA' }],
    [
      'session-key-no-point',
      'an Ed25519 key inside that is no point of the curve',
      'bad-session-key',
      { ...right, session_key: keyOf(decode(noPoint)), session_id: noPoint },
    ],
    ['session-id-missing', 'no session id', 'missing-field', without('session_id')],
    [
      'session-id-other',
      'the session id of another',
      'session-id-mismatch',
      { ...right, session_id: session().session_id },
    ],
  ];
  const operation = { operation: 'prepare' };
  const cases = [
    ...written.map(([id, comment, flags, entry, exported, expected_flags]) => ({
      ...{ id, comment, flags, result: 'valid', ...operation, entry, exported, expected_flags },
    })),
    ...refused.map(([id, comment, code, entry]) => ({
      ...{ id, comment, flags: [], result: 'invalid', code, ...operation, entry },
    })),
  ];
  for (const one of cases) {
    if (one.exported && !(await imports([one.exported]))) throw new Error(`${one.id}: no importer takes it`);
    // Beside a good one: what matters is whether the file survives.
    one.flags.push((await imports([one.entry, right])) ? 'vodozemac-accepts' : 'vodozemac-rejects');
  }
  return vectorFile('key-export', LIBOLM, NOTES, cases);
}

/** Whether the client of vodozemac takes the whole file. */
async function imports(entries) {
  const machine = await newMachine();
  try {
    await machine.importExportedRoomKeys(JSON.stringify(entries), () => undefined);
    return true;
  } catch {
    return false;
  } finally {
    machine.close();
  }
}

/** Room keys: real megolm sessions of libolm, exported, and put into backups whole. */
import { PEER_NOTES, decode, encode, utf8, vectorFile } from './file.mjs';
import { LIBOLM, Olm, imports, libolm, vodozemac, withOlm } from './peers.mjs';
import { randomBytes, randomInteger, seed } from './random.mjs';
import { encryptBlocks, hmac, publicKeyOf, seal, wire } from './scheme.mjs';

const ALGORITHM = 'm.megolm.v1.aes-sha2';
const MSC3061 = 'org.matrix.msc3061.shared_history';

const NOTES = {
  ...PEER_NOTES,
  index: 'The ratchet has been advanced before the export.',
  forwarded: 'The key was forwarded: its chain is not empty.',
  verified: 'The record says is_verified.',
  'no-claimed-keys': 'sender_claimed_keys is an empty object.',
  'no-chain': 'forwarding_curve25519_key_chain is absent.',
  'shared-history': 'shared_history in one or more of its three spellings.',
  'unknown-field': 'The plaintext has fields that the specification does not know.',
  unicode: 'Ids or fields have characters outside ASCII.',
  spelling: 'The JSON is written otherwise than by JSON.stringify: white space, key order, escapes.',
};

/** A megolm session in libolm and its exports at these rising indexes; no two neighbours are 2^31 or more apart. */
export function megolmSession(indexes) {
  return withOlm([Olm.OutboundGroupSession, Olm.InboundGroupSession], (outbound, inbound) => {
    outbound.create();
    inbound.create(outbound.session_key());
    return {
      session_id: inbound.session_id(),
      sessionKeys: indexes.map((index) => inbound.export_session(index)),
      /** The form in which a key is first given to a room's members: version 2, signed. */
      sharedForm: outbound.session_key(),
    };
  });
}

/** The public keys of a new device. */
export function device() {
  return withOlm([Olm.Account], (account) => {
    account.create();
    return JSON.parse(account.identity_keys());
  });
}

/** A room id of one of the two kinds. */
export function randomRoomId() {
  const opaque = encode(randomBytes(32)).replaceAll('+', '-').replaceAll('/', '_');
  const letters = Array.from(
    { length: 18 },
    () => 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'[randomInteger(52)],
  );
  return randomInteger(3) === 0 ? `!${opaque}` : `!${letters.join('')}:example.org`;
}

/** A right plaintext, its fields in the specification's order. */
function backedUp(sessionKey, others = {}) {
  const { ed25519, curve25519 } = device();
  return {
    algorithm: ALGORITHM,
    forwarding_curve25519_key_chain: [],
    sender_claimed_keys: { ed25519 },
    sender_key: curve25519,
    session_key: sessionKey,
    ...others,
  };
}

/** The file. */
export async function roomKeyOfLibolm() {
  seed('room-key.libolm');
  const cases = [...atIndexes(), ...spellings(), ...sharedHistories(), ...encryptions()];
  for (const one of cases.filter(({ operation }) => operation === 'decrypt')) {
    const { room_id, session_id, key_backup_data, private_key } = one;
    const privateKey = decode(private_key);
    const text = vodozemac.decrypt(privateKey, key_backup_data.session_data).toString();
    if (libolm.decrypt(privateKey, key_backup_data.session_data) !== text)
      throw new Error(`libolm reads ${one.id} otherwise`);
    if (!(await imports(room_id, session_id, JSON.parse(text)))) one.flags.push('vodozemac-rejects');
  }
  return vectorFile('room-key', LIBOLM, NOTES, cases);
}

const backup = () => {
  const privateKey = randomBytes(32);
  return { privateKey, publicKey: publicKeyOf(privateKey) };
};

/** A decrypt case: libolm encrypts this text. */
function decryptCase(
  id,
  comment,
  flags,
  { text, record, exported, roomId = randomRoomId(), sessionId, expectedFlags = [] },
) {
  const { privateKey, publicKey } = backup();
  return {
    id,
    comment,
    flags,
    result: 'valid',
    operation: 'decrypt',
    private_key: encode(privateKey),
    mode: 'strict',
    room_id: roomId,
    session_id: sessionId,
    key_backup_data: {
      first_message_index: 0,
      forwarded_count: 0,
      is_verified: false,
      ...record,
      session_data: libolm.encrypt(publicKey, text),
    },
    exported: { ...exported, room_id: roomId, session_id: sessionId },
    expected_flags: expectedFlags,
  };
}

const INDEXES = [
  0,
  1,
  2,
  127,
  255,
  256,
  257,
  511,
  65_535,
  65_536,
  65_537,
  1_000_000,
  16_777_215,
  16_777_216,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
];

function atIndexes() {
  const { session_id, sessionKeys } = megolmSession(INDEXES);
  return INDEXES.map((index, i) => {
    if (decode(sessionKeys[i]).readUInt32BE(1) !== index)
      throw new Error(`libolm exported another index than ${index}`);
    const chain = Array.from({ length: i % 4 === 3 ? 3 : i % 2 }, () => device().curve25519);
    const exported = backedUp(sessionKeys[i], { forwarding_curve25519_key_chain: chain });
    const flags = [
      ...(index ? ['index'] : []),
      ...(chain.length ? ['forwarded'] : []),
      ...(i % 3 === 2 ? ['verified'] : []),
    ];
    return decryptCase(`index-${index}`, `message index ${index}`, flags, {
      text: JSON.stringify(exported),
      record: { first_message_index: index, forwarded_count: chain.length, is_verified: i % 3 === 2 },
      exported,
      sessionId: session_id,
    });
  });
}

function freshKey() {
  const { session_id: sessionId, sessionKeys } = megolmSession([0]);
  return { sessionId, key: sessionKeys[0] };
}

function spellings() {
  const cases = [];
  const add = (id, comment, flags, change, spell = JSON.stringify, roomId = randomRoomId()) => {
    const { sessionId, key } = freshKey();
    const { text: plain, exported } = change(backedUp(key));
    cases.push(decryptCase(id, comment, flags, { text: spell(plain), exported, roomId, sessionId }));
  };
  const same = (fields) => ({ text: fields, exported: fields });
  add('claimed-keys-empty', 'no claimed keys', ['no-claimed-keys'], (fields) =>
    same({ ...fields, sender_claimed_keys: {} }),
  );
  add('claimed-keys-more', 'claimed keys of another algorithm too', ['unknown-field'], (fields) =>
    same({ ...fields, sender_claimed_keys: { ...fields.sender_claimed_keys, 'org.example.key': 'AAAA' } }),
  );
  add(
    'chain-missing',
    'no forwarding chain',
    ['no-chain'],
    ({ forwarding_curve25519_key_chain, ...fields }) => ({
      text: fields,
      exported: { ...fields, forwarding_curve25519_key_chain },
    }),
  );
  add('unknown-fields', 'unknown fields of every type', ['unknown-field'], (fields) =>
    same({
      ...fields,
      'org.example.a': { b: [1, null, true, 'text', { c: {} }] },
      untrusted: true,
      note: null,
    }),
  );
  add('unknown-unicode', 'unknown fields outside ASCII', ['unknown-field', 'unicode'], (fields) =>
    same({ ...fields, 'org.example.鍵': '🔑 \u0000 \ufeff \u2028', '\ue000': '\u{10000}' }),
  );
  add('unknown-proto', 'an unknown field named __proto__', ['unknown-field'], (fields) => {
    const text = JSON.parse(
      `${JSON.stringify(fields).slice(0, -1)},"__proto__":{"polluted":true},"constructor":1}`,
    );
    return same(text);
  });
  add(
    'room-id-inside',
    'room_id and session_id stand inside too, and are others: the place counts',
    ['unknown-field'],
    (fields) => ({
      text: { ...fields, room_id: '!elsewhere:example.org', session_id: 'another' },
      exported: fields,
    }),
  );
  add(
    'white-space',
    'indented',
    ['spelling'],
    same,
    (fields) => ` ${JSON.stringify(fields, null, '\t')}\r\n`,
  );
  add('reversed', 'the fields in another order', ['spelling'], same, (fields) =>
    JSON.stringify(Object.fromEntries(Object.entries(fields).reverse())),
  );
  add('escaped', 'everything escaped', ['spelling'], same, (fields) =>
    JSON.stringify(fields).replace(/[a-z]/g, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`),
  );
  const rooms = [
    ['unicode', 'a room id outside ASCII', '!комната-鍵🔑:example.org', ['unicode']],
    [
      'server-less',
      'a room id without a server',
      `!${encode(randomBytes(32)).replaceAll('+', '-').replaceAll('/', '_')}`,
      [],
    ],
    ['reserved', 'a room id with reserved characters', '!a/b%2F+c d?e#f&g:[::1]:8448', []],
    ['proto', 'a room id that is a name on every object', '__proto__', []],
    ['empty', 'an empty room id', '', []],
  ];
  for (const [id, comment, roomId, flags] of rooms)
    add(`room-${id}`, comment, flags, same, JSON.stringify, roomId);
  return cases;
}

function sharedHistories() {
  const written = (value) => ({ shared_history: value, 'm.shared_history': value });
  const spelt = [
    ...[true, false].flatMap((value) => [
      [`specified-${value}`, `shared_history ${value}`, { shared_history: value }, value],
      [`m-${value}`, `m.shared_history ${value}`, { 'm.shared_history': value }, value],
      [`msc3061-${value}`, `${MSC3061} ${value}`, { [MSC3061]: value }, value],
      [`written-${value}`, `as it is written today: two spellings, ${value}`, written(value), value],
      [`all-${value}`, `all three spellings, ${value}`, { ...written(value), [MSC3061]: value }, value],
    ]),
    [
      'disagree',
      'the spellings disagree: the specification’s own decides',
      { [MSC3061]: true, 'm.shared_history': true, shared_history: false },
      false,
    ],
    [
      'disagree-without',
      'they disagree without the specification’s own: m.shared_history decides',
      { [MSC3061]: false, 'm.shared_history': true },
      true,
    ],
  ].map(([id, comment, fields, value]) => {
    const { sessionId, key } = freshKey();
    const plain = backedUp(key);
    return decryptCase(`shared-history-${id}`, comment, ['shared-history'], {
      text: JSON.stringify({ ...plain, ...fields }),
      exported: { ...plain, ...written(value) },
      sessionId,
      // vodozemac reads the two as one field, and refuses that twice.
      expectedFlags: MSC3061 in fields && 'm.shared_history' in fields ? ['bad-shared-history'] : [],
    });
  });
  for (const [id, value] of [
    ['string', 'true'],
    ['number', 1],
    ['null', null],
  ]) {
    const { sessionId, key } = freshKey();
    const plain = backedUp(key);
    const comment = `shared_history is of type ${id}: it is left out, and flagged in strict mode too`;
    spelt.push(
      decryptCase(`shared-history-${id}`, comment, ['shared-history'], {
        text: JSON.stringify({ ...plain, shared_history: value }),
        exported: plain,
        sessionId,
        expectedFlags: ['bad-shared-history'],
      }),
    );
  }
  return spelt;
}

function encryptions() {
  const indexes = [0, 1, 256, 65_536, 2 ** 31 - 1];
  const { session_id, sessionKeys } = megolmSession(indexes);
  const cases = [];
  const add = (id, comment, flags, index, fields, expected = fields) => {
    const i = indexes.indexOf(index);
    const plain = backedUp(sessionKeys[i]);
    cases.push({
      id: `encrypt-${id}`,
      comment,
      flags,
      result: 'valid',
      operation: 'encrypt',
      private_key: encode(backup().privateKey),
      exported: { ...plain, room_id: randomRoomId(), session_id, ...fields },
      first_message_index: index,
      forwarded_count: fields.forwarding_curve25519_key_chain?.length ?? 0,
      is_verified: false,
      backed_up: { ...plain, ...expected },
    });
  };
  for (const index of indexes)
    add(`index-${index}`, `message index ${index}`, index ? ['index'] : [], index, {});
  const chain = [device().curve25519, device().curve25519];
  add('forwarded', 'forwarded twice', ['forwarded'], 1, { forwarding_curve25519_key_chain: chain });
  add('no-claimed-keys', 'no claimed keys', ['no-claimed-keys'], 0, { sender_claimed_keys: {} });
  add('unknown', 'unknown fields', ['unknown-field'], 0, { 'org.example.note': { a: ['ä', 1] } });
  for (const value of [true, false]) {
    const written = { shared_history: value, 'm.shared_history': value };
    for (const [name, spelling] of [
      ['specified', 'shared_history'],
      ['m', 'm.shared_history'],
      ['msc3061', MSC3061],
    ]) {
      add(
        `shared-history-${name}-${value}`,
        `${spelling} ${value}`,
        ['shared-history'],
        0,
        { [spelling]: value },
        written,
      );
    }
  }
  return cases;
}

const INVALID_NOTES = {
  ...PEER_NOTES,
  utf8: 'The plaintext is not UTF-8.',
  json: 'The plaintext is not a JSON object, or a field of it is of another type than it has to be.',
  record: 'The record around session_data is malformed.',
  missing: 'A required field is absent.',
  'session-key': 'session_key is not a session export of version 1.',
  'session-id': 'The session id is not the one inside session_key.',
  algorithm: 'The algorithm is another.',
  'mac-length': 'The MAC is not 8 bytes long.',
  'mac-mismatch': 'The MAC is that of something else.',
  padding: 'The decrypted bytes do not end in PKCS#7 padding.',
  malleable:
    'The ciphertext was changed on the way; it is still decrypted, because the MAC does not cover it.',
  salvage: 'Strict reading refuses this; salvage reads it and says why.',
};

/** The file of malformed ones. */
export async function roomKeyInvalid() {
  seed('room-key.invalid');
  const context = { cases: [], keys: backup() };
  plaintexts(context);
  missingFields(context);
  wrongTypes(context);
  sessionKeys(context);
  algorithms(context);
  records(context);
  layers(context);
  encryptFaults(context);
  for (const one of context.cases) {
    const observed = await observe(one, context.keys.privateKey);
    one.flags.push(...observed);
  }
  return vectorFile('room-key', LIBOLM, INVALID_NOTES, context.cases);
}

/** What vodozemac with the SDK around it does otherwise than the case says. */
async function observe(one, privateKey) {
  if (one.operation !== 'decrypt') return [];
  const accepted = await restores(one, privateKey);
  return accepted === (one.result === 'valid') ? [] : [`vodozemac-${accepted ? 'accepts' : 'rejects'}`];
}

async function restores({ room_id, session_id, key_backup_data }, privateKey) {
  let fields;
  try {
    fields = JSON.parse(vodozemac.decrypt(privateKey, key_backup_data.session_data).toString());
  } catch {
    return false;
  }
  return imports(room_id, session_id, fields);
}

/** Adds one plaintext in both modes. */
function both(
  { cases, keys },
  id,
  comment,
  flags,
  plaintext,
  sessionId,
  { strict, salvage = strict, spoil = (record) => record },
) {
  const { wire: session_data } = seal(
    randomBytes(32),
    keys.publicKey,
    Buffer.isBuffer(plaintext) ? plaintext : utf8(plaintext),
  );
  const record = spoil({ first_message_index: 0, forwarded_count: 0, is_verified: false, session_data });
  const roomId = randomRoomId();
  for (const [mode, outcome] of Object.entries({ strict, salvage })) {
    const invalid = typeof outcome === 'string';
    cases.push({
      id: mode === 'strict' ? id : `${id}-salvage`,
      comment,
      flags: [...flags, ...(!invalid && typeof strict === 'string' ? ['salvage'] : [])],
      result: invalid ? 'invalid' : 'valid',
      ...(invalid ? { code: outcome } : {}),
      operation: 'decrypt',
      private_key: encode(keys.privateKey),
      mode,
      room_id: roomId,
      session_id: sessionId,
      key_backup_data: record,
      ...(invalid
        ? {}
        : {
            exported: { ...outcome.exported, room_id: roomId, session_id: sessionId },
            expected_flags: outcome.flags,
          }),
    });
  }
}

function plaintexts(context) {
  const { sessionId, key } = freshKey();
  const text = JSON.stringify(backedUp(key));
  const inside = (bytes) => {
    const [before, after] = text.split('"sender_key"');
    return Buffer.concat([
      utf8(`${before}"note":"`),
      Buffer.from(bytes, 'hex'),
      utf8(`","sender_key"${after}`),
    ]);
  };
  const utf8Faults = [
    ['ff', 'a byte that never occurs', 'ff'],
    ['continuation', 'a continuation byte without a beginning', '80'],
    ['truncated', 'a sequence cut short', 'e282'],
    ['overlong', 'an overlong form of a solidus', 'c0af'],
    ['surrogate', 'an encoded surrogate', 'eda080'],
    ['beyond', 'above U+10FFFF', 'f4908080'],
    ['latin-1', 'a Latin-1 letter', 'e4'],
  ];
  for (const [id, comment, bytes] of utf8Faults) {
    both(context, `utf8-${id}`, comment, ['utf8'], inside(bytes), sessionId, { strict: 'bad-utf8' });
  }
  both(
    context,
    'utf8-random',
    'random bytes',
    ['utf8'],
    Buffer.concat([Buffer.of(0xff), randomBytes(600)]),
    sessionId,
    { strict: 'bad-utf8' },
  );
  const jsonFaults = [
    ['empty', 'an empty plaintext', ''],
    ['space', 'nothing but white space', ' \n'],
    ['word', 'no JSON', 'session_key'],
    ['truncated', 'cut short', text.slice(0, -1)],
    ['trailing', 'something after the object', `${text}{}`],
    ['trailing-comma', 'a comma too many', `${text.slice(0, -1)},}`],
    ['single-quotes', 'single quotation marks', text.replaceAll('"', "'")],
    ['bom', 'a byte order mark before it', `\ufeff${text}`],
    ['nul', 'U+0000 after it', `${text}\0`],
    ['array', 'an array around the object', `[${text}]`],
    ['string', 'a string', JSON.stringify(text)],
    ['number', 'a number', '5'],
    ['null', 'null', 'null'],
    ['true', 'true', 'true'],
    ['deep', '10,000 arrays in each other, never closed', '['.repeat(10_000)],
    [
      'deep-field',
      'a field of 10,000 arrays in each other',
      `${text.slice(0, -1)},"note":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
    ],
  ];
  for (const [id, comment, fault] of jsonFaults) {
    both(context, `json-${id}`, comment, ['json'], fault, sessionId, { strict: 'bad-json' });
  }
}

const REQUIRED = ['algorithm', 'sender_claimed_keys', 'sender_key', 'session_key'];
const without = (fields, ...names) =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));

function missingFields(context) {
  const claims = { sender_claimed_keys: {} };
  for (const name of REQUIRED) {
    const { sessionId, key } = freshKey();
    const plaintext = without(backedUp(key), name);
    const taken = { exported: { ...plaintext, ...claims }, flags: ['missing-sender-claimed-keys'] };
    const outcomes = {
      sender_claimed_keys: { strict: taken },
      sender_key: {
        strict: 'missing-field',
        salvage: { exported: plaintext, flags: ['missing-sender-key'] },
      },
    };
    const outcome = outcomes[name] ?? { strict: 'missing-field' };
    const text = JSON.stringify(plaintext);
    both(context, `missing-${name}`, `${name} is absent`, ['missing'], text, sessionId, outcome);
  }
  const { sessionId, key } = freshKey();
  const plaintext = without(backedUp(key), 'sender_key', 'sender_claimed_keys');
  both(
    context,
    'missing-both',
    'both sender fields are absent',
    ['missing'],
    JSON.stringify(plaintext),
    sessionId,
    {
      strict: 'missing-field',
      salvage: {
        exported: { ...plaintext, ...claims },
        flags: ['missing-sender-key', 'missing-sender-claimed-keys'],
      },
    },
  );
  both(context, 'missing-all', 'an empty object', ['missing'], '{}', sessionId, { strict: 'missing-field' });
  const hidden = `{"__proto__":${JSON.stringify(backedUp(key))}}`;
  both(
    context,
    'missing-inherited',
    'all fields stand in an object called __proto__',
    ['missing'],
    hidden,
    sessionId,
    {
      strict: 'missing-field',
    },
  );
}

function wrongTypes(context) {
  const values = [
    ['null', null],
    ['number', 5],
    ['boolean', false],
    ['array', []],
    ['object', {}],
    ['string', 'text'],
  ];
  const right = { sender_claimed_keys: 'object', forwarding_curve25519_key_chain: 'array' };
  for (const name of [...REQUIRED, 'forwarding_curve25519_key_chain']) {
    for (const [type, value] of values) {
      if (type === (right[name] ?? 'string')) continue;
      // Whether a chain that is null counts as absent is left open.
      if (name === 'forwarding_curve25519_key_chain' && type === 'null') continue;
      const { sessionId, key } = freshKey();
      const text = JSON.stringify({ ...backedUp(key), [name]: value });
      both(context, `type-${name}-${type}`, `${name} is of type ${type}`, ['json'], text, sessionId, {
        strict: 'bad-json',
      });
    }
  }
  const inside = [
    ['chain-number', 'a number in the forwarding chain', { forwarding_curve25519_key_chain: ['AAAA', 5] }],
    ['chain-null', 'null in the forwarding chain', { forwarding_curve25519_key_chain: [null] }],
    ['claimed-number', 'a claimed key that is a number', { sender_claimed_keys: { ed25519: 5 } }],
    ['claimed-null', 'a claimed key that is null', { sender_claimed_keys: { ed25519: null } }],
  ];
  for (const [id, comment, fields] of inside) {
    const { sessionId, key } = freshKey();
    const text = JSON.stringify({ ...backedUp(key), ...fields });
    both(context, `type-${id}`, comment, ['json'], text, sessionId, { strict: 'bad-json' });
  }
}

function sessionKeys(context) {
  const refused = (id, comment, spoil) => {
    const {
      session_id,
      sessionKeys: [key],
      sharedForm,
    } = megolmSession([0]);
    const text = JSON.stringify(backedUp(spoil(decode(key), sharedForm, key)));
    both(context, `session-key-${id}`, comment, ['session-key'], text, session_id, {
      strict: 'bad-session-key',
    });
  };
  const version = (byte) => (bytes) => encode(Buffer.concat([Buffer.of(byte), bytes.subarray(1)]));
  refused('empty', 'empty', () => '');
  refused('short', 'one byte too few', (bytes) => encode(bytes.subarray(0, 164)));
  refused('long', 'one byte too many', (bytes) => encode(Buffer.concat([bytes, Buffer.alloc(1)])));
  refused('long-before', 'a byte of 1 before it', (bytes) => encode(Buffer.concat([Buffer.of(1), bytes])));
  refused('half', 'half of it', (bytes) => encode(bytes.subarray(0, 82)));
  refused('version-0', 'version 0', version(0));
  refused('version-2', 'version 2, without the signature of that version', version(2));
  refused('version-255', 'version 255', version(255));
  refused(
    'shared-form',
    'the form in which a key is first shared: version 2, signed, 229 bytes',
    (_, sharedForm) => sharedForm,
  );
  refused(
    'url-safe',
    'a character of the URL-safe alphabet',
    (_, __, key) => `${key.slice(0, 10)}_${key.slice(11)}`,
  );
  refused('space', 'a space inside', (_, __, key) => `${key.slice(0, 10)} ${key.slice(10)}`);
  refused('huge', '10,000 characters', () => 'A'.repeat(10_000));

  const mismatched = (id, comment, place) => {
    const { sessionId, key } = freshKey();
    both(
      context,
      `session-id-${id}`,
      comment,
      ['session-id'],
      JSON.stringify(backedUp(key)),
      place(sessionId),
      {
        strict: 'session-id-mismatch',
      },
    );
  };
  mismatched('other', 'the id of another session', () => freshKey().sessionId);
  mismatched('empty', 'an empty id', () => '');
  mismatched('cut', 'the last character is missing', (id) => id.slice(0, -1));
  mismatched('proto', 'a name on every object', () => '__proto__');
  mismatched('case', 'upper and lower case exchanged', (id) =>
    [...id]
      .map((letter) => (letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()))
      .join(''),
  );
}

function algorithms(context) {
  const others = {
    v2: 'm.megolm.v2.aes-sha2',
    olm: 'm.olm.v1.curve25519-aes-sha2',
    empty: '',
    'upper-case': 'M.MEGOLM.V1.AES-SHA2',
    space: `${ALGORITHM} `,
  };
  for (const [id, algorithm] of Object.entries(others)) {
    const { sessionId, key } = freshKey();
    const text = JSON.stringify({ ...backedUp(key), algorithm });
    both(
      context,
      `algorithm-${id}`,
      `the algorithm is ${JSON.stringify(algorithm)}`,
      ['algorithm'],
      text,
      sessionId,
      {
        strict: 'unsupported-algorithm',
      },
    );
  }
}

function records(context) {
  const { sessionId, key } = freshKey();
  const text = JSON.stringify(backedUp(key));
  const add = (id, comment, flag, spoil, strict) =>
    both(context, `record-${id}`, comment, [flag], text, sessionId, { strict, spoil });
  add('null', 'the record is null', 'record', () => null, 'bad-json');
  add('array', 'the record is an array', 'record', (record) => [record], 'bad-json');
  add('string', 'the record is a string', 'record', (record) => JSON.stringify(record), 'bad-json');
  add(
    'no-session-data',
    'session_data is absent',
    'missing',
    (record) => without(record, 'session_data'),
    'missing-field',
  );
  add(
    'session-data-null',
    'session_data is null',
    'record',
    (record) => ({ ...record, session_data: null }),
    'bad-json',
  );
  add(
    'session-data-string',
    'session_data is a string',
    'record',
    (record) => ({ ...record, session_data: 'text' }),
    'bad-json',
  );
}

/** Faults of `session_data` come through unchanged, and salvage adds them up. */
function layers(context) {
  const { keys } = context;
  const { sessionId, key } = freshKey();
  const exported = backedUp(key);
  const text = JSON.stringify(exported);
  const parts = () => seal(randomBytes(32), keys.publicKey, utf8(text));
  const replace = (sessionData) => (record) => ({ ...record, session_data: sessionData });

  const other = seal(randomBytes(32), publicKeyOf(randomBytes(32)), utf8(text));
  both(context, 'layer-mac', 'encrypted for another backup', ['mac-mismatch'], text, sessionId, {
    strict: 'mac-mismatch',
    spoil: replace(other.wire),
  });

  const short = parts();
  both(context, 'layer-mac-length', 'a MAC of 4 bytes', ['mac-length'], text, sessionId, {
    strict: 'bad-mac-length',
    salvage: { exported, flags: ['mac-length'] },
    spoil: replace(wire(short.ephemeral, short.ciphertext, short.mac.subarray(0, 4))),
  });

  const loose = parts();
  const spaces = utf8(text.padEnd(Math.ceil((text.length + 2) / 16) * 16 - 2));
  const looseBlocks = Buffer.concat([spaces, Buffer.of(0, 2)]);
  both(context, 'layer-padding', 'padding whose filler is zeros', ['padding'], text, sessionId, {
    strict: 'bad-padding',
    salvage: { exported, flags: ['padding'] },
    spoil: replace(
      wire(loose.ephemeral, encryptBlocks(loose.aesKey, loose.iv, looseBlocks), loose.mac.subarray(0, 8)),
    ),
  });

  const partial = without(exported, 'sender_key', 'sender_claimed_keys');
  const all = parts();
  const partialText = JSON.stringify(partial);
  const allBlocks = Buffer.concat([
    utf8(partialText.padEnd(Math.ceil((partialText.length + 2) / 16) * 16 - 2)),
    Buffer.of(0, 2),
  ]);
  both(
    context,
    'layer-all',
    'everything at once that salvage lets pass',
    ['padding', 'mac-length', 'missing'],
    text,
    sessionId,
    {
      strict: 'bad-mac-length',
      salvage: {
        exported: { ...partial, sender_claimed_keys: {} },
        flags: ['mac-length', 'padding', 'missing-sender-key', 'missing-sender-claimed-keys'],
      },
      spoil: replace(
        wire(all.ephemeral, encryptBlocks(all.aesKey, all.iv, allBlocks), all.mac.subarray(0, 20)),
      ),
    },
  );

  const flip = (position) => {
    const { ephemeral, ciphertext, mac } = parts();
    ciphertext[position] ^= 1;
    return replace(wire(ephemeral, ciphertext, mac.subarray(0, 8)));
  };
  both(
    context,
    'layer-bit-flipped',
    'one bit of the ciphertext is flipped: a block of noise, which is not UTF-8',
    ['malleable'],
    text,
    sessionId,
    {
      strict: 'bad-utf8',
      spoil: flip(20),
    },
  );
  const forged = freshKey();
  const foreign = seal(randomBytes(32), keys.publicKey, utf8(JSON.stringify(backedUp(forged.key))));
  both(
    context,
    'layer-swapped',
    'a right session_data of another session in this place',
    ['session-id'],
    text,
    sessionId,
    {
      strict: 'session-id-mismatch',
      spoil: replace(foreign.wire),
    },
  );
  const macOfCiphertext = parts();
  both(
    context,
    'layer-mac-of-ciphertext',
    'the MAC covers the ciphertext',
    ['mac-mismatch'],
    text,
    sessionId,
    {
      strict: 'mac-mismatch',
      spoil: replace(
        wire(
          macOfCiphertext.ephemeral,
          macOfCiphertext.ciphertext,
          hmac(macOfCiphertext.macKey, macOfCiphertext.ciphertext).subarray(0, 8),
        ),
      ),
    },
  );
}

function encryptFaults({ cases }) {
  const {
    session_id,
    sessionKeys: [key],
  } = megolmSession([0]);
  const right = { ...backedUp(key), room_id: randomRoomId(), session_id };
  const add = (id, comment, flag, code, exported) =>
    cases.push({
      id: `encrypt-${id}`,
      comment,
      flags: [flag],
      result: 'invalid',
      code,
      operation: 'encrypt',
      private_key: encode(randomBytes(32)),
      exported,
    });
  // Absent or unusable claimed keys are mended.
  const required = REQUIRED.filter((name) => name !== 'sender_claimed_keys');
  for (const name of [...required, 'room_id', 'session_id']) {
    add(`missing-${name}`, `${name} is absent`, 'missing', 'missing-field', without(right, name));
    add(`type-${name}`, `${name} is a number`, 'json', 'bad-json', { ...right, [name]: 5 });
  }
  add('null', 'null', 'json', 'bad-json', null);
  add('array', 'an array', 'json', 'bad-json', [right]);
  add('algorithm', 'another algorithm', 'algorithm', 'unsupported-algorithm', {
    ...right,
    algorithm: 'm.megolm.v2.aes-sha2',
  });
  add('session-key', 'session_key cut short', 'session-key', 'bad-session-key', {
    ...right,
    session_key: key.slice(0, -4),
  });
  add('session-id', 'the id of another session', 'session-id', 'session-id-mismatch', {
    ...right,
    session_id: freshKey().sessionId,
  });
}

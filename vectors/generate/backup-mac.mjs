/** The `backup_mac` of the open proposal MSC4048, by `node:crypto`; nobody has deployed it. */
import { createHmac, hkdfSync } from 'node:crypto';
import { NODE_CRYPTO, PEER_NOTES, encode, pad, utf8, vectorFile } from './file.mjs';
import { imports, libolm, vodozemac } from './peers.mjs';
import { randomBytes, seed } from './random.mjs';
import { device, megolmSession, randomRoomId } from './room-key.mjs';
import { publicKeyOf, seal } from './scheme.mjs';

const UNSTABLE = 'org.matrix.msc4048.backup_mac';
const UNAUTHENTICATED = 'org.matrix.msc4048.unauthenticated';
const COPY = 'org.megolm-backup.room_id';

const NOTES = {
  ...PEER_NOTES,
  stable: "The names without the proposal's prefix.",
  'unknown-field': 'session_data has fields that the algorithm does not know; the MAC covers them.',
  'not-covered': 'signatures and unsigned differ; the MAC does not cover them.',
  spelling: 'The MAC is written in another form than unpadded base64.',
  tampered: 'Something that the MAC covers was changed, added or taken away.',
  malformed: 'What stands in the place of the MAC is none.',
  'other-key': 'The MAC is by the key of another backup.',
  both: 'The MAC stands there under both names.',
  absent: 'There is no MAC.',
  declared: 'The plaintext says that its writer does not vouch for the key.',
  'room-id': 'The plaintext has a copy of the room id.',
  'not-canonical': 'session_data has no canonical JSON.',
  policy: 'The reader refuses keys that are not authenticated.',
  moved: 'The record stands in another place than the one it was written for; the MAC covers no place.',
};

/** The canonical JSON of objects whose keys and texts are ASCII, by hand: sorted keys, integers. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
}

function macKeyOf(privateKey) {
  return Buffer.from(hkdfSync('sha256', privateKey, Buffer.alloc(0), 'MATRIX_BACKUP_MAC_KEY', 32));
}

function macOf(macKey, sessionData) {
  const { signatures: _, unsigned: __, ...covered } = sessionData;
  return createHmac('sha256', macKey).update(canonical(covered)).digest();
}

const withMac = (macKey, sessionData, name = UNSTABLE) => ({
  ...sessionData,
  unsigned: { [name]: encode(macOf(macKey, sessionData)) },
});

/** The file. */
export async function backupMac() {
  seed('backup-mac');
  const cases = [...derivations(), ...writings(), ...checks(), ...(await readings())];
  return vectorFile('backup-mac', NODE_CRYPTO, NOTES, cases);
}

function derivations() {
  return [
    ['random', 'a random key', randomBytes(32)],
    ['zero', 'a key of zeros', Buffer.alloc(32)],
    ['ones', 'a key of ones', Buffer.alloc(32, 0xff)],
  ].map(([id, comment, privateKey]) => ({
    id: `derive-${id}`,
    comment,
    flags: [],
    result: 'valid',
    operation: 'derive',
    private_key: encode(privateKey),
    mac_key: encode(macKeyOf(privateKey)),
  }));
}

/** A right session_data of v1 around a text. */
function sealed(publicKey, text = '{"any":"JSON"}') {
  return seal(randomBytes(32), publicKey, utf8(text)).wire;
}

function writings() {
  const macKey = macKeyOf(randomBytes(32));
  const data = sealed(publicKeyOf(randomBytes(32)));
  const right = encode(macOf(macKey, data));
  const write = (id, comment, flags, input, unsigned, names = 'unstable', covered = input) => ({
    id: `write-${id}`,
    comment,
    flags,
    result: 'valid',
    operation: 'write',
    mac_key: encode(macKey),
    names,
    session_data: input,
    expected: {
      ...input,
      unsigned: {
        ...unsigned,
        [names === 'stable' ? 'backup_mac' : UNSTABLE]: encode(macOf(macKey, covered)),
      },
    },
  });
  const fields = { 'org.example.list': [1, null, { b: true, a: 'text' }], 'org.example.empty': {} };
  const refused = (id, comment, value) => ({
    id: `write-${id}`,
    comment,
    flags: ['not-canonical'],
    result: 'invalid',
    code: 'bad-canonical-json',
    operation: 'write',
    mac_key: encode(macKey),
    names: 'unstable',
    session_data: { ...data, more: value },
  });
  return [
    write('plain', 'the three fields of v1', [], data),
    write('stable', 'under the stable name', ['stable'], data, {}, 'stable'),
    write('unknown', 'further fields', ['unknown-field'], { ...data, ...fields }),
    write(
      'unsigned',
      'what stands in unsigned stays and is not covered',
      ['not-covered'],
      { ...data, unsigned: { age: 5 } },
      { age: 5 },
      'unstable',
      data,
    ),
    write(
      'again',
      'a MAC that is there already is replaced, whatever its name',
      ['not-covered', 'both'],
      { ...data, unsigned: { backup_mac: right, [UNSTABLE]: 'old' }, signatures: { '@a:example.org': {} } },
      {},
      'stable',
      data,
    ),
    refused('fraction', 'a number with a fraction', 0.5),
    refused('large', 'a number beyond 2^53 - 1', 2 ** 53),
    refused('surrogate', 'a lone surrogate', '\ud800'),
  ];
}

function checks() {
  const privateKey = randomBytes(32);
  const macKey = macKeyOf(privateKey);
  const data = sealed(publicKeyOf(privateKey));
  const mac = macOf(macKey, data);
  const right = encode(mac);
  const flipped = Buffer.from(mac);
  flipped[31] ^= 1;
  const check = (id, state, comment, flags, sessionData) => ({
    id: `check-${id}`,
    comment,
    flags,
    result: 'valid',
    operation: 'check',
    mac_key: encode(macKey),
    session_data: sessionData,
    state,
  });
  const under = (value, name = UNSTABLE) => ({ ...data, unsigned: { [name]: value } });
  const wrongForms = [
    ['null', 'null', null],
    ['false', 'false', false],
    ['number', 'a number', 0],
    ['object', 'an object', { mac: right }],
    ['array', 'an array of the right one', [right]],
    ['empty', 'an empty string', ''],
    ['cut', 'the first 31 bytes', encode(mac.subarray(0, 31))],
    ['eight', 'the first 8 bytes, as the other MAC has them', encode(mac.subarray(0, 8))],
    ['long', 'a byte too many', encode(Buffer.concat([mac, Buffer.alloc(1)]))],
    ['space', 'a space behind it', `${right} `],
    ['url-safe', 'the URL-safe alphabet', `-${right.slice(1)}`],
    ['hex', 'in hex', mac.toString('hex')],
  ];
  const wrongMacs = [
    ['flipped', 'one bit flipped', encode(flipped), []],
    ['zero', 'of zeros', encode(Buffer.alloc(32)), []],
    ['other-key', 'by another MAC key', encode(macOf(randomBytes(32), data)), ['other-key']],
    ['decryption-key', 'by the decryption key itself', encode(macOf(privateKey, data)), ['other-key']],
    [
      'ciphertext',
      'of the ciphertext alone',
      encode(createHmac('sha256', macKey).update(Buffer.from(data.ciphertext, 'base64')).digest()),
      [],
    ],
    ['empty-string', 'of the empty string', encode(createHmac('sha256', macKey).digest()), []],
    [
      'whole',
      'of the JSON in another order of fields',
      encode(createHmac('sha256', macKey).update(JSON.stringify(data)).digest()),
      [],
    ],
  ];
  const changed = (field) => ({
    ...under(right),
    [field]: `${data[field][0] === 'A' ? 'B' : 'A'}${data[field].slice(1)}`,
  });
  const without = (field) =>
    Object.fromEntries(Object.entries(under(right)).filter(([name]) => name !== field));
  return [
    check('right', 'right', 'right', [], under(right)),
    check('right-stable', 'right', 'right, under the stable name', ['stable'], under(right, 'backup_mac')),
    check('right-padded', 'right', 'right, padded', ['spelling'], under(pad(right))),
    check('right-both', 'right', 'right, under both names', ['both'], {
      ...data,
      unsigned: { backup_mac: right, [UNSTABLE]: right },
    }),
    check('right-unsigned', 'right', 'right, beside other unsigned things', ['not-covered'], {
      ...data,
      signatures: { '@a:example.org': { 'ed25519:DEVICE': 'text' } },
      unsigned: { age: 0.5, [UNSTABLE]: right },
    }),
    check(
      'right-unknown',
      'right',
      'right, with further fields',
      ['unknown-field'],
      withMac(macKey, { ...data, more: [1, 'a'] }),
    ),
    check('none', 'no-mac', 'no unsigned', ['absent'], data),
    ...[
      ['empty', {}],
      ['null', null],
      ['array', []],
      ['string', right],
      ['other', { mac: right }],
    ].map(([id, unsigned]) =>
      check(`none-${id}`, 'no-mac', `unsigned is ${JSON.stringify(unsigned).slice(0, 20)}`, ['absent'], {
        ...data,
        unsigned,
      }),
    ),
    check('none-outside', 'no-mac', 'the MAC stands outside unsigned', ['absent'], {
      ...data,
      backup_mac: right,
    }),
    ...wrongForms.flatMap(([id, comment, value]) => [
      check(`form-${id}`, 'wrong-mac', comment, ['malformed'], under(value)),
      check(`form-${id}-stable`, 'wrong-mac', comment, ['malformed', 'stable'], under(value, 'backup_mac')),
      check(`form-${id}-both`, 'wrong-mac', `${comment}, beside a right one`, ['malformed', 'both'], {
        ...data,
        unsigned: { backup_mac: right, [UNSTABLE]: value },
      }),
    ]),
    ...wrongMacs.map(([id, comment, value, flags]) =>
      check(`wrong-${id}`, 'wrong-mac', comment, flags, under(value)),
    ),
    ...['ephemeral', 'ciphertext', 'mac'].flatMap((field) => [
      check(`changed-${field}`, 'wrong-mac', `${field} was changed`, ['tampered'], changed(field)),
      check(`without-${field}`, 'wrong-mac', `${field} was taken away`, ['tampered'], without(field)),
    ]),
    check('added', 'wrong-mac', 'a field was added', ['tampered'], { ...under(right), more: 1 }),
    check('not-canonical', 'wrong-mac', 'a field was added that has no canonical form', ['not-canonical'], {
      ...under(right),
      more: 0.5,
    }),
  ];
}

/** Records, read whole. */
async function readings() {
  const cases = [];
  const reading = readingCases(cases);
  const { text } = reading;
  const roomId = reading.roomId;
  const add = reading.add;
  add('verified', 'a right MAC', [], {}, { authenticity: 'verified' });
  add(
    'verified-stable',
    'a right MAC under the stable name',
    ['stable'],
    { name: 'backup_mac' },
    { authenticity: 'verified' },
  );
  add('no-mac', 'no MAC', ['absent'], { strip: true }, { authenticity: 'no-mac' });
  add(
    'wrong-mac',
    'a MAC by the key of another backup',
    ['other-key'],
    { macKey: randomBytes(32) },
    { authenticity: 'wrong-mac' },
  );
  add(
    'metadata',
    'the metadata beside session_data was changed',
    ['moved'],
    { record: { first_message_index: 9, forwarded_count: 9, is_verified: true } },
    { authenticity: 'verified' },
  );
  add(
    'moved',
    'the record stands in another room',
    ['moved'],
    { roomId: randomRoomId() },
    { authenticity: 'verified' },
  );
  for (const [id, value, source] of [
    ['undefined', 'm.undefined', 'm.undefined'],
    ['legacy', 'm.legacy-v1', 'm.legacy-v1'],
    ['forwarded', 'm.forwarded_room_key', 'm.forwarded_room_key'],
    ['unknown', 'org.example.source', 'm.undefined'],
    ['null', null, 'm.undefined'],
    ['false', false, 'm.undefined'],
  ]) {
    const expected = { authenticity: 'declared-unauthenticated', source };
    add(
      `declared-${id}`,
      `declared to be from ${JSON.stringify(value)}`,
      ['declared'],
      { fields: { [UNAUTHENTICATED]: value } },
      expected,
    );
    add(
      `declared-${id}-stable`,
      `declared to be from ${JSON.stringify(value)}`,
      ['declared', 'stable'],
      { fields: { unauthenticated: value } },
      expected,
    );
  }
  add(
    'declared-no-mac',
    'a declaration that nothing proves',
    ['declared', 'absent'],
    { fields: { [UNAUTHENTICATED]: 'm.legacy-v1' }, strip: true },
    { authenticity: 'no-mac' },
  );
  add(
    'room-id',
    'a copy of the room id',
    ['room-id'],
    { fields: { [COPY]: roomId } },
    { authenticity: 'verified' },
  );
  add(
    'room-id-moved',
    'a copy of the room id of another room',
    ['room-id', 'moved'],
    { fields: { [COPY]: randomRoomId() } },
    'room-id-mismatch',
  );
  add(
    'room-id-null',
    'a copy of the room id that is null',
    ['room-id'],
    { fields: { [COPY]: null } },
    'room-id-mismatch',
  );
  add(
    'room-id-no-mac',
    'a copy of another room id that nothing proves',
    ['room-id', 'absent'],
    { fields: { [COPY]: '!other:example.org' }, strip: true },
    { authenticity: 'no-mac' },
  );
  const policy = { require: true };
  add('policy-verified', 'a right MAC', ['policy'], policy, { authenticity: 'verified' });
  add('policy-no-mac', 'no MAC', ['policy', 'absent'], { ...policy, strip: true }, 'not-authenticated');
  add(
    'policy-wrong-mac',
    'a wrong MAC',
    ['policy', 'other-key'],
    { ...policy, macKey: randomBytes(32) },
    'not-authenticated',
  );
  add(
    'policy-declared',
    'declared unauthenticated',
    ['policy', 'declared'],
    { ...policy, fields: { [UNAUTHENTICATED]: 'm.legacy-v1' } },
    'not-authenticated',
  );
  for (const one of cases) {
    const { private_key, room_id, session_id, key_backup_data } = one;
    const privateKey = Buffer.from(private_key, 'base64');
    const read = vodozemac.decrypt(privateKey, key_backup_data.session_data).toString();
    if (libolm.decrypt(privateKey, key_backup_data.session_data) !== read)
      throw new Error(`libolm reads ${one.id} otherwise`);
    if (!(await imports(room_id, session_id, JSON.parse(read))))
      throw new Error(`the SDK does not import ${one.id}`);
  }
  if (!text.includes('session_key')) throw new Error('the plaintext lacks its session_key');
  return cases;
}

/** One session in one backup, and a way to add cases about it. */
function readingCases(cases) {
  const privateKey = randomBytes(32);
  const publicKey = publicKeyOf(privateKey);
  const {
    session_id,
    sessionKeys: [sessionKey],
  } = megolmSession([0]);
  const { ed25519, curve25519 } = device();
  const plaintext = {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    sender_claimed_keys: { ed25519 },
    sender_key: curve25519,
    session_key: sessionKey,
  };
  const home = randomRoomId();
  return {
    roomId: home,
    text: JSON.stringify(plaintext),
    privateKey,
    add(id, comment, flags, change, expected) {
      const { fields = {}, strip = false, name, macKey = macKeyOf(privateKey), roomId = home } = change;
      const { record = {}, require = false } = change;
      const data = sealed(publicKey, JSON.stringify({ ...plaintext, ...fields }));
      const session_data = strip ? data : withMac(macKey, data, name);
      const { [COPY]: _, ...exported } = { ...plaintext, ...fields };
      const valid = typeof expected !== 'string';
      cases.push({
        id: `read-${id}`,
        comment,
        flags,
        result: valid ? 'valid' : 'invalid',
        ...(valid ? {} : { code: expected }),
        operation: 'read',
        private_key: encode(privateKey),
        require_authenticated: require,
        room_id: roomId,
        session_id,
        key_backup_data: {
          first_message_index: 0,
          forwarded_count: 0,
          is_verified: false,
          ...record,
          session_data,
        },
        ...(valid && {
          authenticated: expected.authenticity === 'verified',
          authenticity: expected.authenticity,
          source: expected.source ?? null,
          exported: { ...exported, room_id: roomId, session_id },
        }),
      });
    },
  };
}

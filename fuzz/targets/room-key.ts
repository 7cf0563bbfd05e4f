import { prepareExportedSession, readExportedSession } from '../../src/formats/exported-session.js';
import { prepareRoomKey, readRoomKey } from '../../src/formats/room-key.js';
import { readSessionKey } from '../../src/formats/session-key.js';
import { claim, claimEqual, jsonOf, textOf, words, type Seen, type Target } from '../target.js';
import { jsonsOf } from '../corpus.js';

const CODES = [
  'missing-field',
  'bad-json',
  'unsupported-algorithm',
  'bad-session-key',
  'session-id-mismatch',
];

/** A room key on its three ways: out of a backup, into one, and into an export. */
export const roomKeyTarget: Target = {
  name: 'room-key',
  jsonAt: 0,
  words: words`
    "session_key":" "session_id":" "room_id":"!r" "algorithm":"m.megolm.v1.aes-sha2"
    "sender_claimed_keys":{} "sender_key":null "forwarding_curve25519_key_chain":["
    "m.shared_history":true "shared_history":false "org.matrix.msc3061.shared_history":1
    "__proto__":{"a":1} "toJSON":1 \ud800 {"ed25519":" , = [[[[[[[[ ]]]]]]]]
  `,
  seeds: () => [
    ...jsonsOf('key-export.prepare', 'entry', 1500),
    ...jsonsOf('room-key.invalid', 'exported', 1500),
    ...jsonsOf('room-key.libolm', 'exported', 1200).slice(0, 8),
  ],
  run(input, seen) {
    const text = textOf(input);
    const parsed = jsonOf(text);
    const sessionId = sessionIdOf(parsed?.value);
    restore(input, sessionId, seen);
    if (!parsed) return;
    backUp(parsed.value, seen);
    intoExport(parsed.value, seen);
  },
};

/** The id inside the session key, so that the check of it does not end every attempt. */
function sessionIdOf(value: unknown): string {
  try {
    return readSessionKey((value as { session_key?: unknown }).session_key).session_id;
  } catch {
    return 'none';
  }
}

function restore(plaintext: Uint8Array, sessionId: string, seen: Seen): void {
  const codes = [...CODES, 'bad-utf8'];
  const strict = seen.allow(codes, () => readRoomKey(plaintext, '!r', sessionId));
  const salvaged = seen.allow(codes, () => readRoomKey(plaintext, '!r', sessionId, { salvage: true }));
  if (strict) claimEqual(salvaged, strict, 'salvage changes nothing about what reads strictly');
  if (!salvaged) return;
  const { session } = salvaged.value;
  claim(session.room_id === '!r' && session.session_id === sessionId, 'the ids are those of its place');
  const names = Object.keys(session);
  claim(!names.includes('org.matrix.msc3061.shared_history'), 'never the third name');
  claimEqual(session['m.shared_history'], session.shared_history, 'both names say the same');
}

function backUp(value: unknown, seen: Seen): void {
  const prepared = seen.allow(CODES, () => prepareRoomKey(value));
  if (!prepared) return;
  const { plaintext, room_id, session_id, flags } = prepared.value;
  const read = readRoomKey(plaintext, room_id, session_id);
  const left = flags.includes('unusable-sender-key') ? ['unusable-sender-key', 'unreadable-by-others'] : [];
  claimEqual(read.flags, left, 'what was mended reads without a flag');
  const again = prepareRoomKey(read.session);
  claimEqual(
    JSON.parse(textOf(again.plaintext)),
    JSON.parse(textOf(plaintext)),
    'the same when written again',
  );
  if (flags.length > 0) return;
  claimEqual({ ...again, plaintext: 0 }, { ...prepared.value, plaintext: 0 }, 'the same facts');
}

function intoExport(value: unknown, seen: Seen): void {
  seen.allow(CODES, () => readExportedSession(value));
  const codes = [...CODES, 'bad-base64', 'bad-length'];
  const prepared = seen.allow(codes, () => prepareExportedSession(value));
  if (!prepared) return;
  const { session } = prepared.value;
  const copy = JSON.parse(JSON.stringify(session)) as unknown;
  claimEqual(prepareExportedSession(copy), { session: copy, flags: [] }, 'fit for export stays as it is');
  claimEqual(readExportedSession(copy).flags, [], 'and reads without a flag');
}

import { createCipheriv, createHmac } from 'node:crypto';
import { pureBackend, type Backend } from '../../src/batch/backend.js';
import { readKeyExport, writeKeyExport, type ExportResult } from '../../src/formats/key-export.js';
import { claim, claimEqual, inChunks, jsonOf, textOf, words, type Target } from '../target.js';
import { jsonsOf, textsOf } from '../corpus.js';

const FILE_CODES = ['bad-export-file', 'wrong-passphrase', 'bad-utf8', 'bad-json', 'too-large'];
const ENTRY_CODES = [
  'missing-field',
  'bad-json',
  'unsupported-algorithm',
  'bad-session-key',
  'session-id-mismatch',
];

/** Millions of rounds that a header asks for are another matter than how it is read. */
const backend: Backend = {
  ...pureBackend,
  name: 'constant keys',
  pbkdf2: (_password, _salt, _rounds, length) => Promise.resolve(new Uint8Array(length).fill(7)),
};
const KEY = Buffer.alloc(32, 7);

/**
 * An export file. The first byte says what the rest is: the file itself, the bytes in it up to the MAC, or the JSON
 * that was encrypted; the second how the file is cut.
 */
export const keyExportTarget: Target = {
  name: 'key-export',
  jsonAt: 2,
  words: [
    ...words`
    "session_key":" "session_id":" "room_id":"!r" "algorithm":"m.megolm.v1.aes-sha2"
    "sender_claimed_keys":{} "sender_key":null [{ }] "forwarding_curve25519_key_chain":[]
    "m.shared_history":true ,
  `,
    '-----BEGIN MEGOLM SESSION DATA-----\n',
    '\n-----END MEGOLM SESSION DATA-----',
    '\x01',
    '\0\0\0\x01',
  ],
  seeds: () => [
    ...textsOf('key-export.invalid', 'file', 1500).map((file) => `\x00\x03${file}`),
    ...jsonsOf('key-export.prepare', 'entry', 1500).map((entry) => `\x02\x00[${entry}]`),
    Uint8Array.of(1, 0, 1, ...new Uint8Array(32), 0, 0, 0, 1, 0x5b, 0x5d),
    '\x02\x00[]',
  ],
  async run(input, seen) {
    const [mode = 0, seed = 0] = input;
    const rest = input.subarray(2);
    const file = mode === 0 ? rest : Buffer.from(fileOf(mode === 1 ? rest : sealed(rest)));
    const read = await seen.allowAsync(FILE_CODES, () =>
      readKeyExport(inChunks(file, seed), 'a phrase', { backend, maxBytes: 100_000 }),
    );
    if (!read) return;
    const results = read.value;
    claimEqual(
      results.map(({ index }) => index),
      [...results.keys()],
      'one result per entry, in order',
    );
    for (const result of results) check(result, seen);
    if (mode > 1) {
      const parsed = jsonOf(textOf(rest));
      claim(
        Array.isArray(parsed?.value) && parsed.value.length === results.length,
        'every entry of the array',
      );
    }
    await writeAgain(results);
  },
};

function check(result: ExportResult, seen: Parameters<Target['run']>[1]): void {
  if (!result.ok) {
    claim(ENTRY_CODES.includes(result.error.code), `a declared code, not ${result.error.code}`);
    seen.count(`entry ${result.error.code}`);
    return;
  }
  seen.count('entry accepted');
  const { session_key, session_id } = result.session;
  const bytes = Buffer.from(session_key, 'base64');
  claimEqual(session_id, bytes.subarray(-32).toString('base64').replace('=', ''), 'the id inside the key');
}

/** What was read, as far as importers take it, comes out of a file that is written of it. */
async function writeAgain(results: readonly ExportResult[]): Promise<void> {
  const sessions = results.flatMap((result) => (result.ok ? [result.session] : []));
  if (sessions.length === 0) return;
  const written: string[] = [];
  const onResult = (result: ExportResult) => {
    if (result.ok) written.push(JSON.stringify(result.session));
  };
  let file = '';
  for await (const piece of writeKeyExport(sessions, 'a phrase', { backend, onResult })) file += piece;
  const again = await readKeyExport(file, 'a phrase', { backend });
  claim(
    again.every(({ ok }) => ok),
    'what was written is read',
  );
  claimEqual(
    again.map((result) => result.ok && JSON.stringify(result.session)).map(sortedJson),
    written.map(sortedJson),
    'as it was',
  );
}

function sortedJson(text: string | false): unknown {
  return text === false ? text : JSON.parse(text);
}

function sealed(plaintext: Uint8Array): Buffer {
  const iv = Buffer.alloc(16, 9);
  const cipher = createCipheriv('aes-256-ctr', KEY, iv);
  return Buffer.concat([
    Buffer.of(1),
    Buffer.alloc(16, 3),
    iv,
    Buffer.of(0, 0, 0, 1),
    cipher.update(plaintext),
  ]);
}

function fileOf(covered: Uint8Array): string {
  const mac = createHmac('sha256', KEY).update(covered).digest();
  const text = Buffer.concat([covered, mac]).toString('base64');
  return `-----BEGIN MEGOLM SESSION DATA-----\n${text}\n-----END MEGOLM SESSION DATA-----\n`;
}

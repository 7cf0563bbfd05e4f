import type { Options } from './command.js';

/** Options that several commands have, each written once. */

export const JSON_SUMMARY = { json: { help: 'print the numbers as JSON' } } as const satisfies Options;

export const HOMESERVER = {
  homeserver: { value: 'WHERE', help: 'a URL, a server name or a user id' },
  'token-file': {
    value: 'FILE',
    help: `the access token, on one line; - is standard input. Without it, the environment variable
      MATRIX_ACCESS_TOKEN, or a question on the terminal`,
  },
} as const satisfies Options;

export const KEY_FILE = {
  'key-file': {
    value: 'FILE',
    help: `the backup decryption key, in its text form ("recovery key") or base64; - is standard input. The key of the
      secret storage looks alike but is another one`,
  },
} as const satisfies Options;

export const TRUSTED_KEY = {
  key: {
    value: 'ed25519:ID=BASE64',
    repeatable: true,
    help: `a key you trust: a verified device's, or your cross-signing master key, whose ID is the key itself; may be
      repeated`,
  },
} as const satisfies Options;

export const AUTH_DATA = {
  'auth-data': {
    value: 'FILE',
    help: `the backup's auth_data or version object: a key that does not fit fails before anything else`,
  },
} as const satisfies Options;

export const OUTPUT = {
  output: {
    value: 'OUTPUT',
    short: 'o',
    help: 'where the result goes; without it, or with -, standard output',
  },
  force: { help: 'overwrite an output that exists' },
} as const satisfies Options;

/** For commands that write an encrypted export file. */
export const STRICT = {
  strict: {
    help: `leave out keys without a claimed ed25519 key, which are flagged otherwise (no-claimed-ed25519): matrix-nio
      (weechat-matrix, pantalaimon) refuses a whole file over one of them`,
  },
} as const satisfies Options;

export const REPORT = {
  report: { value: 'OUTPUT', help: 'write what became of every failed or flagged key' },
} as const satisfies Options;

/** For commands that read the keys of a backup. */
export const READING = {
  'require-authenticated': {
    help: 'reject every key without a right backup_mac, and those their writer did not vouch for',
  },
  salvage: { help: 'also read keys that are malformed in ways an old client accepted; they are flagged' },
  ...REPORT,
  ...OUTPUT,
  ...JSON_SUMMARY,
} as const satisfies Options;

/** For commands that write a `backup_mac`. */
export const BACKUP_MAC = {
  'backup-mac': {
    help: `add a backup_mac (MSC4048) to every record, so that readers can tell them from what the server may add, by
      the key derived from the decryption key. You vouch with it for every session in the file, except those with a
      forwarding chain, which are declared m.forwarded_room_key`,
  },
  'mac-key-file': {
    value: 'FILE',
    help: `add a backup_mac by this MAC key, one line of base64 as "mac-key" writes it; - is standard input. With it a
      device that must not read can write records that are authenticated`,
  },
} as const satisfies Options;

export const BIND_ROOM_ID = {
  'bind-room-id': {
    help: 'with a backup_mac: add a copy of the room id, so that "decrypt" notices a moved record',
  },
} as const satisfies Options;

export const VERIFIED = {
  verified: { help: 'write is_verified true: the devices that gave the keys were verified' },
} as const satisfies Options;

/** For commands that look at an account's backup. */
export const ACCOUNT = {
  ...HOMESERVER,
  ...KEY_FILE,
  ...TRUSTED_KEY,
  json: { help: 'print it as JSON' },
} as const satisfies Options;

export const DATABASE = {
  db: { value: 'FILE', help: 'the backups in one SQLite file' },
  postgres: {
    value: 'URL',
    help: 'the backups in PostgreSQL; the password comes from PGPASSWORD or a .pgpass file',
  },
} as const satisfies Options;

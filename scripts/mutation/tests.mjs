// Which tests decide about the mutants of a source file: its own, test/engine/NAME.test.ts, and those named here.
import { existsSync } from 'node:fs';

const SCHEME = ['engine/session-data', 'engine/keys', 'engine/errors'];
const BATCHES = ['engine/batch', 'engine/msc4048'];

const FURTHER = {
  'engine/aes-ctr': ['engine/secret-storage'],
  'engine/affine-product': ['engine/field', 'engine/table-product'],
  'engine/affine-sum': ['engine/table-product'],
  'engine/auth-data': ['engine/errors'],
  'engine/authenticate': BATCHES,
  'engine/backend-call': [
    'engine/passphrase',
    'engine/session-data',
    'engine/session-data-batch',
    'engine/batch',
  ],
  'engine/backup-mac': ['engine/authenticity', 'engine/msc4048', 'engine/mac-key-secret'],
  'engine/base64': ['engine/room-key', 'engine/keys'],
  'engine/batch': ['engine/msc4048', 'engine/chunks', 'engine/authenticate'],
  'engine/bytes': ['engine/keys', 'engine/session-data'],
  'engine/canonical-json': ['engine/auth-data'],
  'engine/chunks': BATCHES,
  'engine/derived-keys': ['engine/session-data'],
  'engine/directions': ['engine/chunks', ...BATCHES, 'engine/authenticate', 'engine/authenticity'],
  'engine/ed25519': ['engine/auth-data'],
  'engine/edwards25519': ['engine/ed25519', 'engine/curve-point', 'engine/table-product'],
  'engine/errors': ['engine/keys', 'engine/turn'],
  'engine/export-file': ['engine/key-export', 'engine/turn'],
  'engine/exported-session': ['engine/room-key', 'engine/key-export', 'engine/batch'],
  'engine/field': ['engine/curve-point', 'engine/ladder', 'engine/table-product'],
  'engine/field-inverse': ['engine/field', 'engine/table-product'],
  'engine/field-product': ['engine/field', 'engine/ladder'],
  'engine/fixed-recipient': ['engine/table-product', 'engine/x25519'],
  'engine/json': ['engine/auth-data', 'engine/room-key', 'engine/secret-storage'],
  'engine/key-description': ['engine/secret-storage', 'engine/unlock'],
  'engine/keys': ['engine/secret-storage'],
  'engine/ladder': ['engine/x25519'],
  'engine/locks': ['engine/unlock', 'engine/mistyped-key'],
  'engine/mac-key-secret': ['engine/secret-storage'],
  'engine/master-key': ['engine/secret-storage', 'engine/unlock'],
  'engine/megolm-ratchet': ['engine/room-key'],
  'engine/mistyped-key': ['engine/unlock'],
  'engine/msc4048': ['engine/authenticate', 'engine/authenticity', 'engine/backup-mac'],
  'engine/pace': ['engine/passphrase', 'engine/chunks'],
  'engine/passphrase': ['engine/auth-data'],
  'engine/provenance': ['engine/msc4048', 'engine/authenticity', 'engine/backup-mac'],
  'engine/recipient-table': ['engine/table-product'],
  'engine/recovery-key': ['engine/mistyped-key'],
  'engine/remainder': ['engine/aes-ctr'],
  'engine/rewrite': ['engine/authenticate', 'engine/msc4048'],
  'engine/room-key': ['engine/exported-session', 'engine/batch'],
  'engine/secret-bytes': ['engine/keys'],
  'engine/secret-storage': ['engine/unlock', 'engine/mac-key-secret'],
  'engine/selection': ['engine/table-product'],
  'engine/session-data': ['engine/session-data-batch', ...SCHEME],
  'engine/session-data-batch': ['engine/batch', 'engine/chunks'],
  'engine/signed-digits': ['engine/table-product'],
  'engine/turn': ['engine/pace', 'engine/chunks'],
  'engine/utf8': ['engine/errors'],
  'engine/x25519': ['engine/keys', 'engine/ladder'],
  'api/json': ['api/backup-reader', 'api/check'],
  'api/json-members': ['server/keys-to-write'],
  'api/json-extent': ['api/backup-reader'],
};

/**
 * Tests that would take most of the time, over and over. What only they find counts as a survivor.
 */
export const LEFT_OUT = [
  /x25519\.test\.ts > X25519: .* > (?:500 random pairs|extreme u|low order at every position|non-canonical u)/,
  /session-data\.test\.ts > .*is accepted exactly when its PKCS#7 is valid: random/,
  /ed25519\.test\.ts > .*fails for any flipped bit/,
  /backup-reader\.test\.ts > .*keeps a digest of every room/,
  /key-export\.test\.ts > .*writes the default of 500,000 rounds/,
  /msc4048\.test\.ts > .*of any length keeps the order/,
];

/** Tests that come first because they want the modules as they are when just loaded. */
export const FIRST = [
  /base64\.test\.ts > .*needs no decoder of the platform/,
  /utf8\.test\.ts > where the platform has no coders/,
];

/** The test files that exist of these. */
export function testsOf(file) {
  const name = file.replace(/^src\/|\.ts$/g, '');
  return [...new Set([name, ...(FURTHER[name] ?? [])])]
    .map((test) => `test/${test}.test.ts`)
    .filter((path) => existsSync(path));
}

/** What all vector files have in common: base64, notes and their form. */

/** Unpadded standard base64 of bytes. */
export function encode(bytes) {
  return Buffer.from(bytes).toString('base64').replace(/=+$/, '');
}

/** The bytes of base64 that this folder made itself. */
export function decode(text) {
  return Buffer.from(text, 'base64');
}

/** UTF-8 bytes of a text. */
export function utf8(text) {
  return Buffer.from(text, 'utf8');
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** The same bytes with the bits after the last whole byte set: another spelling of the same base64. */
export function setTrailingBits(text) {
  const spare = { 0: 0, 2: 15, 3: 3 }[text.length % 4];
  if (!spare) throw new Error('no trailing bits here');
  const last = ALPHABET[ALPHABET.indexOf(text.at(-1)) | spare];
  return text.slice(0, -1) + last;
}

/** The same base64 with the padding that it may have. */
export function pad(text) {
  return text.padEnd(Math.ceil(text.length / 4) * 4, '=');
}

export const NODE_CRYPTO = { name: 'node:crypto', version: 'OpenSSL 3' };

/** What flags mean that more than one file uses. */
export const PEER_NOTES = {
  'libolm-accepts': 'libolm 3.2.15 accepts this; observed when the file was made.',
  'libolm-rejects': 'libolm 3.2.15 rejects this; observed when the file was made.',
  'vodozemac-accepts':
    'vodozemac (matrix-sdk-crypto-wasm 18.9.0) accepts this; observed when the file was made.',
  'vodozemac-rejects':
    'vodozemac (matrix-sdk-crypto-wasm 18.9.0) rejects this; observed when the file was made.',
};

/** A file; the notes are cut down to the flags that its cases have. */
export function vectorFile(kind, origin, notes, cases) {
  const used = new Set(cases.flatMap(({ flags }) => flags));
  for (const flag of used) if (!(flag in notes)) throw new Error(`no note on ${flag}`);
  const ids = new Set(cases.map(({ id }) => id));
  if (ids.size !== cases.length) throw new Error(`an id occurs twice in a file of kind ${kind}`);
  return {
    format: 'megolm-backup-vectors/1',
    kind,
    origin,
    notes: Object.fromEntries(Object.entries(notes).filter(([flag]) => used.has(flag))),
    cases,
  };
}

/** Fails the generation when the values are not what the document they come from says. */
export function expectEqual(actual, expected, what) {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`);
}

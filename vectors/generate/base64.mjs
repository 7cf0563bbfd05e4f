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

import { plainBytes } from './bytes.js';
import { KeyBackupError } from '../errors.js';

/**
 * UTF-8 both ways. The platform's own coder is used where there is one; React Native's Hermes has no
 * TextDecoder, so the whole rule also stands here, and both give the same on every input.
 */

interface Coders {
  TextEncoder?: new () => { encode(text: string): Uint8Array };
  TextDecoder?: new (
    label: string,
    options: { fatal: boolean; ignoreBOM: boolean },
  ) => { decode(bytes: Uint8Array): string };
}

let encoder: { encode(text: string): Uint8Array } | undefined;
let decoder: { decode(bytes: Uint8Array): string } | undefined;

/** UTF-8 bytes of a text. A lone surrogate becomes U+FFFD, as everywhere on the web platform. */
export function utf8Encode(text: string): Uint8Array {
  const { TextEncoder } = globalThis as Coders;
  if (!TextEncoder) return encodePortably(text);
  // In jsdom the encoder is of another realm than this file.
  return plainBytes((encoder ??= new TextEncoder()).encode(text));
}

/**
 * The text of UTF-8 bytes; a byte order mark is kept.
 *
 * @throws {@link KeyBackupError} `bad-utf8`, naming the field, for overlong forms, surrogates, truncation and
 * every other invalid sequence. Nothing is ever replaced.
 */
export function utf8Decode(bytes: Uint8Array, field: string): string {
  const { TextDecoder } = globalThis as Coders;
  if (!TextDecoder) return decodePortably(bytes, field);
  try {
    // Kept: making one costs more than it then does with a room key.
    return (decoder ??= new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })).decode(bytes);
  } catch {
    // The platform's error is not kept as cause: some put the offending bytes in its text.
    throw new KeyBackupError('bad-utf8', `${field}: expected UTF-8, got an invalid sequence`);
  }
}

/** {@link utf8Encode} without the platform's encoder. */
export function encodePortably(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 3);
  let length = 0;
  for (const character of text) {
    let point = Number(character.codePointAt(0));
    if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd;
    if (point < 0x80) {
      bytes[length++] = point;
    } else if (point < 0x800) {
      bytes[length++] = 0xc0 | (point >> 6);
      bytes[length++] = 0x80 | (point & 63);
    } else if (point < 0x10000) {
      bytes[length++] = 0xe0 | (point >> 12);
      bytes[length++] = 0x80 | ((point >> 6) & 63);
      bytes[length++] = 0x80 | (point & 63);
    } else {
      bytes[length++] = 0xf0 | (point >> 18);
      bytes[length++] = 0x80 | ((point >> 12) & 63);
      bytes[length++] = 0x80 | ((point >> 6) & 63);
      bytes[length++] = 0x80 | (point & 63);
    }
  }
  return bytes.slice(0, length);
}

/** {@link utf8Decode} without the platform's decoder. */
export function decodePortably(bytes: Uint8Array, field: string): string {
  let text = '';
  let units: number[] = [];
  for (let i = 0; i < bytes.length;) {
    const first = bytes[i++];
    let point = first;
    if (first >= 0x80) {
      const following = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
      // The least point of each length: anything below is an overlong form.
      const least = following === 3 ? 0x10000 : following === 2 ? 0x800 : 0x80;
      let valid = first >= 0xc2 && first <= 0xf4 && i + following <= bytes.length;
      point = first & (0x3f >> following);
      for (let k = 0; valid && k < following; k++) {
        const next = bytes[i++];
        valid = (next & 0xc0) === 0x80;
        point = (point << 6) | (next & 63);
      }
      if (!valid || point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        throw new KeyBackupError('bad-utf8', `${field}: expected UTF-8, got an invalid sequence`);
      }
    }
    if (point >= 0x10000) {
      units.push(0xd800 + ((point - 0x10000) >> 10), 0xdc00 + ((point - 0x10000) & 0x3ff));
    } else {
      units.push(point);
    }
    // In pieces: a call with too many arguments would overflow the stack.
    if (units.length >= 4096) {
      text += String.fromCharCode(...units);
      units = [];
    }
  }
  return text + String.fromCharCode(...units);
}

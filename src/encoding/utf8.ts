import { utf8 } from '@scure/base';
import { copyBytes, plainBytes } from './bytes.js';
import { KeyBackupError } from '../errors.js';

/** UTF-8 bytes of a text. A lone surrogate becomes U+FFFD, as everywhere on the web platform. */
export function utf8Encode(text: string): Uint8Array {
  const { TextEncoder } = globalThis as unknown as { readonly TextEncoder?: new () => Encoder };
  const bytes = TextEncoder ? new TextEncoder().encode(text) : encodePortably(text);
  // In jsdom the encoder belongs to another realm.
  return bytes.length === bytes.buffer.byteLength ? plainBytes(bytes) : copyBytes(bytes);
}

interface Encoder {
  encode(text: string): Uint8Array;
}

/** Not by `utf8` of `@scure/base`: Metro's release builds leave a call of `isWellFormed` in it, which Hermes may lack. */
function encodePortably(text: string): Uint8Array {
  const escaped = encodeURIComponent(text.replace(LONE_SURROGATE, '\ufffd'));
  const bytes = new Uint8Array(escaped.length);
  let length = 0;
  for (let i = 0; i < escaped.length; i++) {
    if (escaped[i] === '%') {
      bytes[length++] = parseInt(escaped.slice(i + 1, i + 3), 16);
      i += 2;
    } else bytes[length++] = escaped.charCodeAt(i);
  }
  return bytes.subarray(0, length);
}

/**
 * The text of UTF-8 bytes; a byte order mark is kept. Throws `bad-utf8` for every invalid sequence; nothing is
 * replaced.
 */
export function utf8Decode(bytes: Uint8Array, field: string): string {
  try {
    return utf8.encode(bytes);
  } catch {
    // Some platforms' errors quote the bytes, so they are not kept as the cause.
    throw new KeyBackupError('bad-utf8', `${field}: expected UTF-8, got an invalid sequence`);
  }
}

const LONE_SURROGATE = /[\ud800-\udfff]/gu;

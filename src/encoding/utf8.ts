import { utf8 } from '@scure/base';
import { copyBytes, plainBytes } from './bytes.js';
import { KeyBackupError } from '../errors.js';

/** UTF-8 bytes of a text. A lone surrogate becomes U+FFFD, as everywhere on the web platform. */
export function utf8Encode(text: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = utf8.decode(text);
  } catch {
    bytes = utf8.decode(text.replace(LONE_SURROGATE, '\ufffd'));
  }
  // In jsdom the encoder belongs to another realm; where the platform lacks one, the buffer is longer than the bytes.
  return bytes.length === bytes.buffer.byteLength ? plainBytes(bytes) : copyBytes(bytes);
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

import { concat } from '../encoding/bytes.js';
import { MAX_ITERATIONS } from '../scheme/passphrase.js';
import { badExportFile } from './armor.js';

const VERSION = 1;
const SALT = 16;
const IV = 16;
/** Bytes before the ciphertext. */
export const HEADER = 1 + SALT + IV + 4;
/** Bytes after it. */
export const MAC = 32;

/** What a key export says before its ciphertext. */
export interface ExportHeader {
  /** 16 bytes. */
  readonly salt: Uint8Array;
  /** 16 bytes, the first counter. */
  readonly iv: Uint8Array;
  /** Rounds of PBKDF2. */
  readonly iterations: number;
}

/**
 * Reads the header of a decoded file.
 *
 * @throws {@link KeyBackupError} `bad-export-file`.
 */
export function readHeader(body: Uint8Array): ExportHeader {
  if (body.length > 0 && body[0] !== VERSION) throw badExportFile(`expected version 1, got ${body[0]}`);
  if (body.length < HEADER + MAC) {
    throw badExportFile(`expected at least ${HEADER + MAC} bytes, got ${body.length}: it is truncated`);
  }
  const iterations = new DataView(body.buffer, body.byteOffset).getUint32(1 + SALT + IV);
  if (iterations < 1 || iterations > MAX_ITERATIONS) {
    throw badExportFile(`expected 1 to 10,000,000 rounds, got ${iterations}`);
  }
  return { salt: body.slice(1, 1 + SALT), iv: body.slice(1 + SALT, 1 + SALT + IV), iterations };
}

/** The bytes of a header. */
export function headerBytes({ salt, iv, iterations }: ExportHeader): Uint8Array {
  const rounds = new Uint8Array(4);
  new DataView(rounds.buffer).setUint32(0, iterations);
  return concat(Uint8Array.of(VERSION), salt, iv, rounds);
}

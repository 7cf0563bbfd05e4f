/**
 * Randomness that repeats: every file of vectors is made from its own stream, so that anyone can make the
 * files again and compare them byte for byte. This is for TEST keys only.
 *
 * The two peers ask the platform for randomness and cannot be given any. So the platform's generators are
 * replaced in this process before a peer is loaded: `randomBytes` for libolm, `crypto.getRandomValues` for
 * vodozemac.
 */
import { createRequire } from 'node:module';
import { createHash } from 'node:crypto';

/** The functions that peers call, on the CommonJS object that they call them on. */
const platform = createRequire(import.meta.url)('node:crypto');

let label = '';
let counter = 0;
let rest = Buffer.alloc(0);

/** Starts the stream of one file. */
export function seed(name) {
  label = `megolm-backup-vectors/1 ${name}`;
  counter = 0;
  rest = Buffer.alloc(0);
}

/** The next bytes of the stream. */
export function randomBytes(length) {
  if (label === '') throw new Error('seed() first');
  const blocks = [rest];
  for (let have = rest.length; have < length; have += 64) {
    blocks.push(createHash('sha512').update(`${label} ${counter++}`).digest());
  }
  const all = Buffer.concat(blocks);
  rest = all.subarray(length);
  return Buffer.from(all.subarray(0, length));
}

/** The next number of the stream, 0 <= n < limit. */
export function randomInteger(limit) {
  return Number(randomBytes(6).readUIntBE(0, 6) % limit);
}

/** One of these. */
export function pick(values) {
  return values[randomInteger(values.length)];
}

/** Makes the platform's generators give the stream. */
export function replacePlatformRandomness() {
  platform.randomBytes = randomBytes;
  Object.defineProperty(globalThis.crypto, 'getRandomValues', {
    configurable: true,
    value(view) {
      new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(randomBytes(view.byteLength));
      return view;
    },
  });
}

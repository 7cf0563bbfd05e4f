import { eddsa, edwards, type EdDSA } from '@noble/curves/abstract/edwards.js';
import { sha512 } from '@noble/hashes/sha2.js';

let made: EdDSA | undefined;

/**
 * The curve edwards25519 and Ed25519 on it (RFC 7748, section 4.1; RFC 8032, section 5.1), by noble's arithmetic.
 *
 * Noble has the two ready-made in a module of its own, which on import also prepares what is not needed here, and
 * for that wants a TextEncoder: on Hermes without one the import alone would fail. They are made at the first call.
 */
export function ed25519(): EdDSA {
  return (made ??= eddsa(edwards(CURVE), sha512, { adjustScalarBytes: clamp, zip215: false }));
}

// By shifts: translators for older engines make Math.pow of `**`, which refuses these numbers.
const CURVE = {
  p: (1n << 255n) - 19n,
  n: (1n << 252n) + 27742317777372353535851937790883648493n,
  h: 8n,
  a: (1n << 255n) - 20n,
  d: 37095705934669439343138083508754565189542113879843219016388785533085940283555n,
  Gx: 15112221349535400772501151409588531511454012693041857206046113283949847762202n,
  Gy: 46316835694926478169428394003475163141307993866256225615783033603165251855960n,
};

function clamp(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  bytes[0] &= 248;
  bytes[31] &= 127;
  bytes[31] |= 64;
  return bytes as Uint8Array<ArrayBuffer>;
}

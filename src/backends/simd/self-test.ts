import type { RecipientTable } from '../../curve25519/fixed-base-table.js';
import { BASE_POINT, WIDTH } from '../../curve25519/x25519.js';
import { concatAll } from '../../encoding/bytes.js';
import { Agreements } from './agreements.js';
import { EXPONENTS, LIMBS } from './field.js';
import { Kernel } from './kernel.js';
import { Sealing } from './sealing.js';
import { WINDOW, WINDOWS } from './table-sums.js';

/** What one kernel does. */
export interface Simd {
  readonly agreements: Agreements;
  readonly sealing: Sealing;
}

/** The {@link checksum} of what pure JavaScript gives. To run it here would take longer than all else before the first use. */
export const EXPECTED = 0x1b7817e6;

/**
 * Makes the module, and tests it.
 *
 * @returns Undefined if it would give wrong results.
 * @throws Where it cannot be made.
 */
export async function testedSimd(): Promise<Simd | undefined> {
  const kernel = await Kernel.make();
  if (!kernel.isFused()) return undefined;
  const simd = { agreements: new Agreements(kernel), sealing: new Sealing(kernel) };
  return checksum(simd) === EXPECTED ? simd : undefined;
}

/** Of the results of every operation, as 32 bits (FNV-1a). */
export function checksum({
  agreements,
  sealing,
}: {
  readonly agreements: Pick<Agreements, 'ladderMany' | 'tableProducts'>;
  readonly sealing: Pick<Sealing, 'sealMany' | 'openMany'>;
}): number {
  // Five, so that all lanes and incomplete turns are tried.
  const keys = Uint8Array.from({ length: 160 }, (_, i) => (i * 151 + 89) & 255);
  const texts = [0, 15, 16, 40, 64].map((length) => keys.subarray(0, length));
  const sealed = sealing.sealMany(keys, texts);
  const results = concatAll([
    agreements.ladderMany(keys, keys),
    ...agreements.tableProducts([tableForTest()], keys),
    ...sealed.flatMap(({ ciphertext, mac }) => [ciphertext, mac]),
    ...sealing.openMany(keys, sealed).map((padded) => padded ?? new Uint8Array(0)),
  ]);
  return results.reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193), 0x811c9dc5) >>> 0;
}

/** Any points will do, also beside the curve: both sides add them by the same formula. A true table takes longer to build. */
function tableForTest(): RecipientTable {
  const entries = new Float64Array(WINDOWS * (WINDOW / 8));
  for (let i = 0; i < entries.length; i++) entries[i] = ((i * 7919) % 65521) * 2 ** EXPONENTS[i % LIMBS];
  return { publicKey: BASE_POINT, width: WIDTH, entries };
}

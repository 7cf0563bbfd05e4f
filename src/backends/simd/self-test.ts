import type { RecipientTable } from '../../curve25519/fixed-base-table.js';
import { tableProducts } from '../../curve25519/fixed-base.js';
import { ladderMany } from '../../curve25519/montgomery-ladder.js';
import { BASE_POINT, WIDTH } from '../../curve25519/x25519.js';
import { equal } from '../../encoding/bytes.js';
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
  return agreesRight(simd.agreements) && sealsRight(simd.sealing) ? simd : undefined;
}

/** Five, so that all lanes and incomplete turns are tried. */
function testKeys(): Uint8Array {
  return Uint8Array.from({ length: 160 }, (_, i) => (i * 151 + 89) & 255);
}

function agreesRight(agreements: Agreements): boolean {
  const keys = testKeys();
  const table = tableForTest();
  return (
    equal(agreements.ladderMany(keys, keys), ladderMany(keys, keys)) &&
    equal(agreements.tableProducts([table], keys)[0], tableProducts([table], keys)[0])
  );
}

function sealsRight(sealing: Sealing): boolean {
  const keys = testKeys();
  const texts = [0, 15, 16, 40, 64].map((length) => keys.subarray(0, length));
  const sealed = sealing.sealMany(keys, texts);
  const opened = sealing.openMany(keys, sealed);
  return texts.every((text, slot) => {
    const key = keys.subarray(32 * slot, 32 * slot + 32);
    return sealing.isSealed(sealed[slot], key, text) && sealing.isOpened(opened[slot], key, sealed[slot]);
  });
}

/** Any points will do, also beside the curve: both sides add them by the same formula. A true table takes longer to build. */
function tableForTest(): RecipientTable {
  const entries = new Float64Array(WINDOWS * (WINDOW / 8));
  for (let i = 0; i < entries.length; i++) entries[i] = ((i * 7919) % 65521) * 2 ** EXPONENTS[i % LIMBS];
  return { publicKey: BASE_POINT, width: WIDTH, entries };
}

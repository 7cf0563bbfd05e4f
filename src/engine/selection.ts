import { POINT } from './affine-sum.js';
import { ENTRY, type RecipientTable } from './recipient-table.js';

/**
 * points(i) = the multiple that signed digit i says, for one window of one or more tables: every entry of the
 * window is read and multiplied by a mask of 0 or 1, so that neither a branch nor an address depends on a digit.
 *
 * @param points - Receives, for every table, `count` points.
 * @param tables - All of one width.
 * @param digits - Digit t(i) of this window stands at `digitAt + i * digitStep`, from 0 to 2^W - 1, and means
 * 2 t(i) - (2^W - 1).
 * @param masks - At least 2^(W - 1) numbers, overwritten.
 */
export function selectPoints(
  points: Float64Array,
  at: number,
  tables: readonly RecipientTable[],
  window: number,
  digits: Uint8Array,
  digitAt: number,
  digitStep: number,
  count: number,
  masks: Float64Array,
): void {
  const width = tables[0].width;
  const size = 1 << (width - 1);
  const start = window * size * ENTRY;
  for (let i = 0; i < count; i++) {
    const digit = digits[digitAt + i * digitStep];
    // The top bit is the sign: all ones where the digit is negative. Then |d| = 2 j + 1.
    const negative = (digit >> (width - 1)) - 1;
    const j = (digit ^ negative) & (size - 1);
    for (let k = 0; k < size; k++) masks[k] = ((j ^ k) - 1) >>> 31;
    const sign = 1 + 2 * negative;
    for (let table = 0; table < tables.length; table++) {
      select(points, at + (table * count + i) * POINT, tables[table].entries, start, masks, size, sign);
    }
  }
}

/** One masked sum over the entries of a window, the limbs taken apart, y times the sign. */
function select(
  out: Float64Array,
  o: number,
  entries: Float64Array,
  start: number,
  masks: Float64Array,
  size: number,
  sign: number,
): void {
  let x0 = 0;
  let x2 = 0;
  let x4 = 0;
  let x6 = 0;
  let x8 = 0;
  let x10 = 0;
  let y0 = 0;
  let y2 = 0;
  let y4 = 0;
  let y6 = 0;
  let y8 = 0;
  let y10 = 0;
  for (let k = 0, q = start | 0; k < size; k++, q = (q + ENTRY) | 0) {
    const mask = masks[k];
    x0 += mask * entries[q];
    x2 += mask * entries[(q + 1) | 0];
    x4 += mask * entries[(q + 2) | 0];
    x6 += mask * entries[(q + 3) | 0];
    x8 += mask * entries[(q + 4) | 0];
    x10 += mask * entries[(q + 5) | 0];
    y0 += mask * entries[(q + 6) | 0];
    y2 += mask * entries[(q + 7) | 0];
    y4 += mask * entries[(q + 8) | 0];
    y6 += mask * entries[(q + 9) | 0];
    y8 += mask * entries[(q + 10) | 0];
    y10 += mask * entries[(q + 11) | 0];
  }
  unpack(out, o, x0, x2, x4, x6, x8, x10);
  unpack(out, (o + 12) | 0, sign * y0, sign * y2, sign * y4, sign * y6, sign * y8, sign * y10);
}

/** Twelve limbs from six pairs: the odd limb is the pair rounded to its weight. */
function unpack(
  out: Float64Array,
  o: number,
  pair0: number,
  pair2: number,
  pair4: number,
  pair6: number,
  pair8: number,
  pair10: number,
): void {
  const ROUND_22 = 1.5 * 2 ** 74,
    ROUND_64 = 1.5 * 2 ** 116,
    ROUND_107 = 1.5 * 2 ** 159,
    ROUND_149 = 1.5 * 2 ** 201;
  const ROUND_192 = 1.5 * 2 ** 244,
    ROUND_234 = 1.5 * 2 ** 286;
  const limb1 = pair0 + ROUND_22 - ROUND_22;
  const limb3 = pair2 + ROUND_64 - ROUND_64;
  const limb5 = pair4 + ROUND_107 - ROUND_107;
  const limb7 = pair6 + ROUND_149 - ROUND_149;
  const limb9 = pair8 + ROUND_192 - ROUND_192;
  const limb11 = pair10 + ROUND_234 - ROUND_234;
  out[o] = pair0 - limb1;
  out[(o + 1) | 0] = limb1;
  out[(o + 2) | 0] = pair2 - limb3;
  out[(o + 3) | 0] = limb3;
  out[(o + 4) | 0] = pair4 - limb5;
  out[(o + 5) | 0] = limb5;
  out[(o + 6) | 0] = pair6 - limb7;
  out[(o + 7) | 0] = limb7;
  out[(o + 8) | 0] = pair8 - limb9;
  out[(o + 9) | 0] = limb9;
  out[(o + 10) | 0] = pair10 - limb11;
  out[(o + 11) | 0] = limb11;
}

import { POINT } from './affine-sum.js';
import { LIMBS } from './field.js';
import { ENTRY, type RecipientTable } from './recipient-table.js';

/** What {@link selectPoints} needs and overwrites. */
export interface SelectionScratch {
  /** 0 or 1 for every entry of a window, for two digits. */
  readonly masks: Float64Array;
  /** Two entries. */
  readonly entries: Float64Array;
}

/** Scratch for windows of `width` bits. */
export function selectionScratch(width: number): SelectionScratch {
  return { masks: new Float64Array(2 << (width - 1)), entries: new Float64Array(2 * ENTRY) };
}

/**
 * points(i) = the multiple that signed digit i says, for one window of one or more tables: every entry of the
 * window is read and multiplied by a mask of 0 or 1, so that neither a branch nor an address depends on a digit.
 * Two digits at a time: they share the reading of the entries, which is most of the work.
 *
 * @param points - Receives, for every table, `count` points.
 * @param tables - All of one width.
 * @param digits - Digit t(i) of this window stands at `digitAt + i * digitStep`, from 0 to 2^W - 1, and means
 * 2 t(i) - (2^W - 1).
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
  scratch: SelectionScratch,
): void {
  const { masks, entries } = scratch;
  const width = tables[0].width;
  const size = 1 << (width - 1);
  const start = window * size * ENTRY;
  for (let i = 0; i < count; i += 2) {
    // An odd last one is done twice.
    const next = Math.min(i + 1, count - 1);
    const sign = readDigit(masks, 0, digits[digitAt + i * digitStep], width);
    const nextSign = readDigit(masks, size, digits[digitAt + next * digitStep], width);
    for (let t = 0; t < tables.length; t++) {
      for (let column = 0; column < ENTRY; column += 3) {
        sumThreeColumns(entries, column, tables[t].entries, start + column, masks, size);
      }
      const first = at + t * count * POINT;
      unpackPoint(points, first + i * POINT, entries, 0, sign);
      unpackPoint(points, first + next * POINT, entries, ENTRY, nextSign);
    }
  }
}

/** Writes the masks of a digit and returns its sign, 1 or -1. */
function readDigit(masks: Float64Array, at: number, digit: number, width: number): number {
  const size = 1 << (width - 1);
  // The top bit is the sign: all ones where the digit is negative. Then |d| = 2 j + 1.
  const negative = (digit >> (width - 1)) - 1;
  const j = (digit ^ negative) & (size - 1);
  for (let k = 0; k < size; k++) masks[(at + k) | 0] = ((j ^ k) - 1) >>> 31;
  return 1 + 2 * negative;
}

/**
 * Masked sums, for two digits, of three columns of a window: more sums at once than the processor has registers
 * for were slower, and so were fewer.
 */
function sumThreeColumns(
  out: Float64Array,
  o: number,
  entries: Float64Array,
  start: number,
  masks: Float64Array,
  size: number,
): void {
  let a0 = 0;
  let a1 = 0;
  let a2 = 0;
  let b0 = 0;
  let b1 = 0;
  let b2 = 0;
  for (let k = 0, q = start | 0; k < size; k++, q = (q + ENTRY) | 0) {
    const maskA = masks[k];
    const maskB = masks[(size + k) | 0];
    const column0 = entries[q];
    const column1 = entries[(q + 1) | 0];
    const column2 = entries[(q + 2) | 0];
    a0 += maskA * column0;
    a1 += maskA * column1;
    a2 += maskA * column2;
    b0 += maskB * column0;
    b1 += maskB * column1;
    b2 += maskB * column2;
  }
  out[o] = a0;
  out[(o + 1) | 0] = a1;
  out[(o + 2) | 0] = a2;
  out[(o + ENTRY) | 0] = b0;
  out[(o + ENTRY + 1) | 0] = b1;
  out[(o + ENTRY + 2) | 0] = b2;
}

/** The limbs of a point from an entry, y times the sign. */
function unpackPoint(out: Float64Array, o: number, entry: Float64Array, p: number, sign: number): void {
  unpack(out, o, entry, p, 1);
  unpack(out, o + LIMBS, entry, p + ENTRY / 2, sign);
}

/** Twelve limbs from six pairs: the odd limb is the pair rounded to its weight. */
// prettier-ignore
function unpack(out: Float64Array, o: number, pairs: Float64Array, p: number, sign: number): void {
  const ROUND_22 = 1.5 * 2 ** 74, ROUND_64 = 1.5 * 2 ** 116, ROUND_107 = 1.5 * 2 ** 159;
  const ROUND_149 = 1.5 * 2 ** 201, ROUND_192 = 1.5 * 2 ** 244, ROUND_234 = 1.5 * 2 ** 286;
  const pair0 = sign * pairs[p], limb1 = (pair0 + ROUND_22) - ROUND_22;
  const pair2 = sign * pairs[(p + 1) | 0], limb3 = (pair2 + ROUND_64) - ROUND_64;
  const pair4 = sign * pairs[(p + 2) | 0], limb5 = (pair4 + ROUND_107) - ROUND_107;
  const pair6 = sign * pairs[(p + 3) | 0], limb7 = (pair6 + ROUND_149) - ROUND_149;
  const pair8 = sign * pairs[(p + 4) | 0], limb9 = (pair8 + ROUND_192) - ROUND_192;
  const pair10 = sign * pairs[(p + 5) | 0], limb11 = (pair10 + ROUND_234) - ROUND_234;
  out[o] = pair0 - limb1; out[(o + 1) | 0] = limb1;
  out[(o + 2) | 0] = pair2 - limb3; out[(o + 3) | 0] = limb3;
  out[(o + 4) | 0] = pair4 - limb5; out[(o + 5) | 0] = limb5;
  out[(o + 6) | 0] = pair6 - limb7; out[(o + 7) | 0] = limb7;
  out[(o + 8) | 0] = pair8 - limb9; out[(o + 9) | 0] = limb9;
  out[(o + 10) | 0] = pair10 - limb11; out[(o + 11) | 0] = limb11;
}

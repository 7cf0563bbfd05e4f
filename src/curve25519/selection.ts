import { POINT } from './affine-sum.js';
import { LIMBS } from './field.js';
import { ENTRY, type RecipientTable } from './recipient-table.js';

/** The most entries of a window, and the most tables at once, that fit into the kernel's memory. */
const MOST_ENTRIES = 64;
const MOST_TABLES = 2;

/**
 * points(i) = the multiple that signed digit i says, for one window of one or two tables: every entry of the
 * window is read and multiplied by a mask of 0 or 1, so that neither a branch nor an address depends on a digit.
 * Two digits at a time: they share the reading of the entries, which is most of the work.
 *
 * @param points - Receives, for every table, `count` points.
 * @param tables - All of one width, at most 7.
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
): void {
  const { entries, sums, setMasks, sumThreeColumns } = (kernel ??= createKernel());
  const width = tables[0].width;
  const size = 1 << (width - 1);
  const length = size * ENTRY;
  for (let t = 0; t < tables.length; t++) {
    entries.set(tables[t].entries.subarray(window * length, (window + 1) * length), t * length);
  }
  for (let i = 0; i < count; i += 2) {
    // An odd last one is done twice.
    const next = Math.min(i + 1, count - 1);
    const sign = setMasks(0, digits[digitAt + i * digitStep], width);
    const nextSign = setMasks(size, digits[digitAt + next * digitStep], width);
    for (let t = 0; t < tables.length; t++) {
      for (let column = 0; column < ENTRY; column += 3) sumThreeColumns(t * length + column, column, size);
      const first = at + t * count * POINT;
      unpackPoint(points, first + i * POINT, sums, 0, sign);
      unpackPoint(points, first + next * POINT, sums, ENTRY, nextSign);
    }
  }
}

/** Overwrites what the last selection left behind. */
export function wipeSelection(): void {
  if (!kernel) return;
  kernel.masks.fill(0);
  kernel.sums.fill(0);
}

/** The memory of the innermost loops and the loops themselves. */
interface Kernel {
  /** The entries of the window for each table. */
  readonly entries: Float64Array;
  /** 0 or 1 for every entry, for two digits. */
  readonly masks: Float64Array;
  /** The two entries that came out. */
  readonly sums: Float64Array;
  /** Writes the masks of a digit and returns its sign, 1 or -1. */
  readonly setMasks: (at: number, digit: number, width: number) => number;
  /**
   * Masked sums, for two digits, of three columns from `start` on: more sums at once than the processor has
   * registers for were slower, and so were fewer.
   */
  readonly sumThreeColumns: (start: number, column: number, size: number) => void;
}

let kernel: Kernel | undefined;

/**
 * Made once: functions that close over arrays which never change know address and length when they are
 * compiled, and run in two thirds of the time of the same functions with the arrays as arguments.
 */
function createKernel(): Kernel {
  const entries = new Float64Array(MOST_TABLES * MOST_ENTRIES * ENTRY);
  const masks = new Float64Array(2 * MOST_ENTRIES);
  const sums = new Float64Array(2 * ENTRY);

  function setMasks(at: number, digit: number, width: number): number {
    const size = 1 << (width - 1);
    // The top bit is the sign: all ones where the digit is negative. Then |d| = 2 j + 1.
    const negative = (digit >> (width - 1)) - 1;
    const j = (digit ^ negative) & (size - 1);
    for (let k = 0; k < size; k++) masks[(at + k) | 0] = ((j ^ k) - 1) >>> 31;
    return 1 + 2 * negative;
  }

  function sumThreeColumns(start: number, column: number, size: number): void {
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
    sums[column] = a0;
    sums[(column + 1) | 0] = a1;
    sums[(column + 2) | 0] = a2;
    sums[(column + ENTRY) | 0] = b0;
    sums[(column + ENTRY + 1) | 0] = b1;
    sums[(column + ENTRY + 2) | 0] = b2;
  }

  return { entries, masks, sums, setMasks, sumThreeColumns };
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

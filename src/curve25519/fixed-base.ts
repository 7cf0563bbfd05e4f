import { POINT, type SumScratch, addPoints, littleEndian, sumScratch } from './edwards.js';
import { equal, wipe } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import { LIMBS, fromBytes, subtract, toBytes } from './field.js';
import { unpack } from './field-mul.js';
import { ENTRY, THIRD_OF_A, type RecipientTable, signedDigits, windowCount } from './fixed-base-table.js';
import { ladderMany } from './montgomery-ladder.js';

/** Scalars at a time. Larger chunks share an inversion among more scalars but exceed the processor's cache. */
const CHUNK = 32;

/**
 * X25519 of many scalars with the point of every table: a scalar multiplication is the sum of one table entry per window,
 * and the additions of many scalars, tables and windows share one inversion.
 *
 * @param tables - One or two, of the same width, at most 7.
 * @param scalars - 32 bytes each, not clamped.
 * @returns For every table, 32 bytes for each scalar.
 */
export function tableProducts(tables: readonly RecipientTable[], scalars: Uint8Array): Uint8Array[] {
  const count = scalars.length / 32;
  const results = tables.map(() => new Uint8Array(scalars.length));
  const parts = Math.max(1, Math.ceil(count / CHUNK));
  const chunk = Math.ceil(count / parts);
  const work = workspace(tables, chunk);
  for (let start = 0; start < count; start += chunk) {
    const size = Math.min(chunk, count - start);
    const part = scalars.subarray(start * 32, (start + size) * 32);
    recode(work, part, tables[0].width);
    const done = sumWindows(work, tables, size);
    tables.forEach((table, t) => {
      // If points met in this chunk, it takes the ladder.
      if (done) {
        writeU(results[t], start * 32, work, t * size, size);
      } else {
        const byLadder = ladderMany(part, table.publicKey);
        results[t].set(byLadder, start * 32);
        wipe(byLadder);
      }
    });
  }
  wipeWorkspace(work);
  return results;
}

/**
 * Compares the table with the ladder in one agreement, whose scalar has digits of every size and sign.
 *
 * @returns The table.
 * @throws {@link KeyBackupError} `backend-failed` when they disagree.
 */
export function checkedTable(table: RecipientTable): RecipientTable {
  const scalar = Uint8Array.from({ length: 32 }, (_, i) => (i * 33 + 13) & 255);
  const [byTable] = tableProducts([table], scalar);
  if (equal(byTable, ladderMany(scalar, table.publicKey))) return table;
  throw new KeyBackupError(
    'backend-failed',
    'table of multiples: expected the result of the ladder, got another',
  );
}

/** The arrays of a call, wiped at its end. */
interface Workspace {
  readonly digits: Uint8Array;
  readonly sums: Float64Array;
  readonly scratch: SumScratch;
  /** A / 3. */
  readonly third: Float64Array;
}

function workspace(tables: readonly RecipientTable[], count: number): Workspace {
  const { width } = tables[0];
  const windows = windowCount(width);
  const points = tables.length * count;
  const third = new Float64Array(LIMBS);
  fromBytes(third, 0, littleEndian(THIRD_OF_A), 0);
  return {
    digits: new Uint8Array(windows * count),
    sums: new Float64Array(windows * points * POINT),
    scratch: sumScratch(windows * points),
    third,
  };
}

function wipeWorkspace({ digits, sums, scratch, third }: Workspace): void {
  for (const array of [digits, sums, scratch.prefix, scratch.few, third]) array.fill(0);
  wipeSelection();
}

/** The digits of all scalars, scalar by scalar. */
function recode(work: Workspace, scalars: Uint8Array, width: number): void {
  const windows = windowCount(width);
  for (let i = 0; i * 32 < scalars.length; i++)
    signedDigits(work.digits, i * windows, scalars, i * 32, width);
}

/**
 * Takes all windows at once and adds the upper half to the lower half until one is left: 6 inversions for 51 windows. Two
 * sums over different windows are never equal or opposite, because the highest window outweighs all others together, also
 * modulo l (see {@link signedDigits}).
 *
 * @returns False if two points met, which only a damaged table can cause.
 */
function sumWindows(work: Workspace, tables: readonly RecipientTable[], count: number): boolean {
  const { digits, sums, scratch } = work;
  const points = tables.length * count;
  let windows = windowCount(tables[0].width);
  for (let window = 0; window < windows; window++) {
    selectPoints(sums, window * points * POINT, tables, window, digits, window, windows, count);
  }
  while (windows > 1) {
    const pairs = windows >> 1;
    windows -= pairs;
    if (!addPoints(sums, 0, sums, windows * points * POINT, pairs * points, scratch)) return false;
  }
  return true;
}

/** Writes u = x - A / 3 of `count` points, from point `first` on. */
function writeU(out: Uint8Array, at: number, work: Workspace, first: number, count: number): void {
  const { sums, scratch, third } = work;
  for (let i = 0; i < count; i++) {
    subtract(scratch.few, 0, sums, (first + i) * POINT, third, 0);
    toBytes(out, at + 32 * i, scratch.few, 0);
  }
}

/** The largest window and the most tables that fit into the memory of the kernel. */
const MOST_ENTRIES = 64;
const MOST_TABLES = 2;

/**
 * points(i) = the multiple for signed digit i, in one window of every table. Every entry of the window is read and
 * multiplied by a mask of 0 or 1, so neither a branch nor an address depends on a digit. Two digits at a time share the
 * reading of the entries, which is most of the work.
 *
 * @param points - Receives `count` points for every table.
 * @param digits - Digit t(i) of this window is at `digitAt + i * digitStep`; it stands for 2 t(i) - (2^W - 1).
 */
function selectPoints(
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
    // The last of an odd count is done twice.
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

/** Wipes what the last selection left in the kernel. */
function wipeSelection(): void {
  if (!kernel) return;
  kernel.masks.fill(0);
  kernel.sums.fill(0);
}

/** The innermost loops and their memory. */
interface Kernel {
  /** The entries of the window, table by table. */
  readonly entries: Float64Array;
  /** 0 or 1 for every entry, for two digits. */
  readonly masks: Float64Array;
  /** The two selected entries. */
  readonly sums: Float64Array;
  /** Writes the masks of a digit and returns its sign, 1 or -1. */
  readonly setMasks: (at: number, digit: number, width: number) => number;
  /**
   * Masked sums of three columns from `start` on, for two digits: more sums than the processor has registers were
   * slower, and so were fewer.
   */
  readonly sumThreeColumns: (start: number, column: number, size: number) => void;
}

let kernel: Kernel | undefined;

/**
 * Made once: a function that closes over constant arrays is compiled for their address and length, and takes two thirds
 * of the time of the same function with the arrays as arguments.
 */
function createKernel(): Kernel {
  const entries = new Float64Array(MOST_TABLES * MOST_ENTRIES * ENTRY);
  const masks = new Float64Array(2 * MOST_ENTRIES);
  const sums = new Float64Array(2 * ENTRY);

  function setMasks(at: number, digit: number, width: number): number {
    const size = 1 << (width - 1);
    // All ones if the digit is negative, which its top bit tells. Then |d| = 2 j + 1.
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

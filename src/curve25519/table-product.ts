import { POINT, type SumScratch, addPoints, sumScratch } from './affine-sum.js';
import { equal, wipe } from '../encoding/bytes.js';
import { ed25519 } from './edwards.js';
import { KeyBackupError } from '../errors.js';
import { LIMBS, fromBytes, subtract, toBytes } from './field.js';
import { ladderMany } from './montgomery-ladder.js';
import { THIRD_OF_A, type RecipientTable } from './recipient-table.js';
import { selectPoints, wipeSelection } from './selection.js';
import { signedDigits, windowCount } from './signed-digits.js';

/** So many scalars share the inversion of a window: beyond some hundreds nothing is gained, and memory is. */
const CHUNK = 256;

/**
 * Up to so many scalars, the windows are added pair by pair, which takes 6 inversions where one after the other
 * takes an inversion a window; above, the working set of all windows at once is too big.
 */
const TREE = 32;

/**
 * X25519 of many scalars with the point of every table: one scalar multiplication is a sum of one table entry a
 * window, and the additions of all scalars and tables at the same window share one inversion.
 *
 * @param tables - All of one width.
 * @param scalars - 32 bytes each, not clamped.
 * @returns For every table, 32 bytes for each scalar.
 */
export function tableProducts(tables: readonly RecipientTable[], scalars: Uint8Array): Uint8Array[] {
  const count = scalars.length / 32;
  const results = tables.map(() => new Uint8Array(scalars.length));
  const parts = Math.max(1, Math.ceil(count / CHUNK));
  const chunk = Math.ceil(count / parts);
  // One way for all parts, also for a last one that is small: the workspace fits only that way.
  const sum = chunk <= TREE ? sumByPairs : sumByWindows;
  const work = workspace(tables, chunk);
  for (let start = 0; start < count; start += chunk) {
    const size = Math.min(chunk, count - start);
    const part = scalars.subarray(start * 32, (start + size) * 32);
    recode(work, part, tables[0].width);
    const done = sum(work, tables, size);
    tables.forEach((table, t) => {
      // A batch in which points met takes the ladder, whose results need no table.
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
 * One agreement by the table and by the ladder, with a scalar whose digits are of every size and either sign.
 *
 * @returns The table.
 * @throws {@link KeyBackupError} `backend-failed` when they do not agree.
 */
export function checkedTable(table: RecipientTable): RecipientTable {
  const scalar = Uint8Array.from({ length: 32 }, (_, i) => (i * 33 + 13) & 255);
  const [byTable] = tableProducts([table], scalar);
  if (equal(byTable, ladderMany(scalar, table.publicKey))) return table;
  throw new KeyBackupError(
    'backend-failed',
    'table of multiples: expected what the ladder gives, got another',
  );
}

/** The arrays of one call, wiped at its end. */
interface Workspace {
  readonly digits: Uint8Array;
  readonly sums: Float64Array;
  readonly selected: Float64Array;
  readonly scratch: SumScratch;
  /** A / 3. */
  readonly third: Float64Array;
}

function workspace(tables: readonly RecipientTable[], count: number): Workspace {
  const { width } = tables[0];
  const windows = windowCount(width);
  const points = tables.length * count;
  const together = count <= TREE ? windows * points : points;
  const third = new Float64Array(LIMBS);
  fromBytes(third, 0, ed25519().Point.Fp.toBytes(THIRD_OF_A), 0);
  return {
    digits: new Uint8Array(windows * count),
    sums: new Float64Array(together * POINT),
    selected: new Float64Array((count <= TREE ? 0 : points) * POINT),
    scratch: sumScratch(together),
    third,
  };
}

function wipeWorkspace({ digits, sums, selected, scratch, third }: Workspace): void {
  for (const array of [digits, sums, selected, scratch.prefix, scratch.few, third]) array.fill(0);
  wipeSelection();
}

/** The digits of all scalars, those of a scalar together. */
function recode(work: Workspace, scalars: Uint8Array, width: number): void {
  const windows = windowCount(width);
  for (let i = 0; i * 32 < scalars.length; i++)
    signedDigits(work.digits, i * windows, scalars, i * 32, width);
}

/**
 * One window after the other, the lowest first: the sum so far is smaller, in absolute value, than the multiple
 * that is added, so the two are neither equal nor opposite, also modulo l (see signed-digits.ts).
 *
 * @returns Whether no two points met, which only a damaged table can bring about.
 */
function sumByWindows(work: Workspace, tables: readonly RecipientTable[], count: number): boolean {
  const { digits, sums, selected, scratch } = work;
  const windows = windowCount(tables[0].width);
  const points = tables.length * count;
  selectPoints(sums, 0, tables, 0, digits, 0, windows, count);
  for (let window = 1; window < windows; window++) {
    selectPoints(selected, 0, tables, window, digits, window, windows, count);
    if (!addPoints(sums, 0, selected, 0, points, scratch)) return false;
  }
  return true;
}

/**
 * All windows at once, the upper half added to the lower half until one is left. Two sums over different windows
 * are neither equal nor opposite, because the highest window of both outweighs all others together.
 */
function sumByPairs(work: Workspace, tables: readonly RecipientTable[], count: number): boolean {
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

/** u = x - A / 3 of `count` points from point `first` on. */
function writeU(out: Uint8Array, at: number, work: Workspace, first: number, count: number): void {
  const { sums, scratch, third } = work;
  for (let i = 0; i < count; i++) {
    subtract(scratch.few, 0, sums, (first + i) * POINT, third, 0);
    toBytes(out, at + 32 * i, scratch.few, 0);
  }
}

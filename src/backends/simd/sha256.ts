import {
  type Code,
  type ModuleBuilder,
  V128,
  addI32,
  i32,
  load,
  loadSplatI32,
  rotateRight,
  select,
  shiftRightI32,
  xor,
} from './emitter.js';

/** Writes SHA-256 (FIPS 180-4) of four messages at once, one in each lane of vectors of four words. */

/** Bytes of a word of all four messages, of a state, and of a block. */
export const WORD = 16;
export const STATE = 8 * WORD;
export const SHA_BLOCK = 16 * WORD;

/** The first 32 bits of the fractional parts of roots of primes: square roots for the state, cube roots for the rounds. */
function fractions(root: (prime: number) => number, count: number): number[] {
  const primes: number[] = [];
  for (let n = 2; primes.length < count; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return primes.map((prime) => ((root(prime) % 1) * 2 ** 32) >>> 0);
}

/** The state before the first block. */
export const INITIAL: readonly number[] = fractions(Math.sqrt, 8);
/** The constants of the rounds. */
export const ROUNDS: readonly number[] = fractions(Math.cbrt, 64);

/**
 * Adds `compress(out, state, block, rounds)`: out = the state after a block; `rounds` is the address of {@link ROUNDS}.
 * `out` may be part of the others. No branch and no address depends on the messages.
 */
export function addCompress(module: ModuleBuilder): void {
  module.add('compress', 4, (code, out, state, block, rounds) => {
    const words = Array.from({ length: 16 }, (_, i) => code.let(V128, load(block, WORD * i)));
    const before = Array.from({ length: 8 }, (_, i) => code.let(V128, load(state, WORD * i)));
    const now = before.map((word) => code.let(V128, word));
    const rotations = (x: Code, ...bits: readonly number[]) =>
      bits.map((count) => rotateRight(x, count)).reduce((sum, one) => xor(sum, one));
    // Four times sixteen rounds, each of which also makes the word that takes the place of its own.
    code.repeat(i32(4), () => {
      for (let i = 0; i < 16; i++) {
        // Instead of moving from one variable to the next, the values stay, and the names move.
        const [a, b, c, d, e, f, g, h] = now.map((_, k) => now[(k - i + 16) % 8]);
        const terms = [rotations(e, 6, 11, 25), select(f, g, e), loadSplatI32(rounds, 4 * i), words[i]];
        const first = code.let(
          V128,
          terms.reduce((sum, term) => addI32(sum, term), h),
        );
        code.set(d, addI32(d, first));
        // The majority of a, b and c: c where a and b differ, else a.
        code.set(h, addI32(addI32(first, rotations(a, 2, 13, 22)), select(c, a, xor(a, b))));
        const [next, late] = [words[(i + 1) % 16], words[(i + 14) % 16]];
        const low = xor(rotations(next, 7, 18), shiftRightI32(next, i32(3)));
        const high = xor(rotations(late, 17, 19), shiftRightI32(late, i32(10)));
        code.set(words[i], addI32(addI32(words[i], low), addI32(words[(i + 9) % 16], high)));
      }
      code.advance(rounds, 64);
    });
    now.forEach((word, i) => {
      code.store(out, WORD * i, addI32(before[i], word));
    });
  });
}

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModuleBuilder } from '../../../src/backends/simd/emitter.js';
import {
  CONSTANTS,
  ELEMENT,
  EXPONENTS,
  LIMBS,
  loadElement,
  plusA24Times,
  product,
  small,
  square,
  storeElement,
} from '../../../src/backends/simd/field.js';
import { Kernel, START } from '../../../src/backends/simd/kernel.js';
import { bytesOf } from '../../contracts/x25519.js';
import { enableRelaxedSimd } from '../../support/platforms.js';
import { runs } from '../../support/runs.js';

enableRelaxedSimd();

const P = 2n ** 255n - 19n;

function mod(value: bigint): bigint {
  return ((value % P) + P) % P;
}

/** The limbs of one number. */
type Limbs = readonly number[];

/** The exact sum of the limbs: every limb is an integer. */
function valueOf(limbs: Limbs): bigint {
  return limbs.reduce((sum, limb) => sum + BigInt(limb), 0n);
}

const weights = EXPONENTS.slice(0, LIMBS).map((exponent) => 2 ** exponent);

/** h(i), half the width of a limb. */
const halves = EXPONENTS.slice(1).map((exponent) => 2 ** (exponent - 1));

/** What a carried element keeps to, as a multiple of h. */
const CARRIED = 1.01;

/** The largest limb within a multiple of h(i), itself a multiple of its weight. */
function limit(i: number, times: number): number {
  return Math.floor((times * halves[i]) / weights[i]) * weights[i];
}

/** Every limb at the limit, with the signs of a pattern. */
function atLimit(times: number, pattern: number): Limbs {
  return weights.map((_, i) => (pattern & (1 << i) ? -1 : 1) * limit(i, times));
}

/** Elements with limbs up to a multiple of h(i), often at the limit itself. */
function elements(times: number): fc.Arbitrary<Limbs> {
  const limbs = weights.map((weight, i) => {
    const most = limit(i, times) / weight;
    return fc
      .oneof(fc.constantFrom(-most, most, 0, 1, -1), fc.integer({ min: -most, max: most }))
      .map((limb) => limb * weight);
  });
  return fc.tuple(...limbs);
}

function expectCarried(limbs: Limbs): void {
  limbs.forEach((limb, i) => {
    expect(Math.abs(limb)).toBeLessThanOrEqual(CARRIED * halves[i]);
    expect(Math.abs(limb % weights[i])).toBe(0);
  });
}

/** A function of up to four elements, in a module of its own. Both lanes are given, and both come back. */
type Pair = readonly [Limbs, Limbs];

const module = new ModuleBuilder();
module.add('product', 3, (f, out, x, y) => {
  storeElement(f, out, product(f, loadElement(f, x), loadElement(f, y)));
});
module.add('productMinusTwo', 5, (f, out, x, y, v, w) => {
  const minus = [loadElement(f, v), loadElement(f, w)];
  storeElement(f, out, product(f, loadElement(f, x), loadElement(f, y), ...minus));
});
module.add('square', 2, (f, out, x) => {
  storeElement(f, out, square(f, loadElement(f, x)));
});
module.add('squareMinusTwo', 4, (f, out, x, v, w) => {
  storeElement(f, out, square(f, loadElement(f, x), loadElement(f, v), loadElement(f, w)));
});
module.add('plusA24Times', 3, (f, out, x, y) => {
  storeElement(f, out, plusA24Times(f, loadElement(f, x), loadElement(f, y)));
});
module.add('fill', 1, (f, out) => {
  const numbers = Array.from({ length: 16 }, (_, number) => small(number));
  numbers.forEach((number, i) => {
    f.store(out, 16 * i, number);
  });
});
interface Instance {
  readonly exports: Record<string, (...addresses: number[]) => void> & { memory: { buffer: ArrayBuffer } };
}

const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    Module: new (bytes: Uint8Array) => object;
    Instance: new (module: object) => Instance;
  };
};
const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.bytes(1)));
const memory = new Float64Array(exports.memory.buffer);
memory.set(CONSTANTS);

function run(name: string, ...inputs: Pair[]): Pair {
  const addresses = [START, ...inputs.map((_, index) => START + (index + 1) * ELEMENT)];
  inputs.forEach((lanes, index) => {
    lanes.forEach((limbs, lane) => {
      limbs.forEach((limb, i) => (memory[addresses[index + 1] / 8 + 2 * i + lane] = limb));
    });
  });
  exports[name](...addresses);
  const lane = (of: number) => weights.map((_, i) => memory[START / 8 + 2 * i + of]);
  return [lane(0), lane(1)];
}

/** Holds what comes out of both lanes against BigInt. */
function expectResults(results: Pair, expected: (lane: number) => bigint): void {
  results.forEach((limbs, lane) => {
    expect(mod(valueOf(limbs))).toBe(mod(expected(lane)));
    expectCarried(limbs);
  });
}

const value = (pair: Pair, lane: number) => valueOf(pair[lane]);

/** Bounds of two factors; the product of each pair is 9 at most. */
const FACTORS = [
  [3, 3],
  [2, 4],
  [9, 1],
  [1, 9],
] as const;

describe('the bounds', () => {
  test('keep the terms of every column below what its rounding constant allows', () => {
    for (const [a, b] of FACTORS) {
      for (let k = 0; k < LIMBS; k++) {
        let terms = 0;
        for (let i = 0; i < LIMBS; i++) {
          const j = (k - i + LIMBS) % LIMBS;
          const fold = i <= k ? 1 : 19 * 2 ** -255;
          terms += limit(i, a * CARRIED) * limit(j, b * CARRIED) * fold;
        }
        // Every rounding adds at most half a unit.
        const most = terms / 2 ** EXPONENTS[k + 1] + LIMBS / 2;
        expect(most).toBeLessThan(2 ** 50.7);
        expect(1.5 * 2 ** 52 - most).toBeGreaterThan(2 ** 52);
        expect(1.5 * 2 ** 52 + most).toBeLessThan(2 ** 53);
      }
    }
  });

  test('keep a product folded back by 19 exact', () => {
    // The last high half, times 19, is a multiple of 19 and so of its unit.
    const terms = weights.reduce(
      (sum, _, i) => sum + limit(i, 3 * CARRIED) * limit(LIMBS - 1 - i, 3 * CARRIED),
      0,
    );
    expect((19 * terms) / 2 ** EXPONENTS[LIMBS]).toBeLessThan(2 ** 52);
  });

  test('are said by constants that are powers of two times 1.5, and their neighbours', () => {
    expect(CONSTANTS).toHaveLength(24);
    EXPONENTS.slice(1).forEach((exponent, k) => {
      expect(CONSTANTS[k]).toBe(1.5 * 2 ** (52 + exponent));
    });
    exports.fill(START);
    expect([...memory.subarray(START / 8, START / 8 + 32)]).toEqual(
      Array.from({ length: 32 }, (_, i) => i >> 1),
    );
  });
});

/** Signs of the limbs: all in the slow tier, and always those that make every column as large as it gets. */
const PATTERNS = Array.from({ length: 64 }, (_, pattern) => pattern).filter(
  (pattern) => runs(64) === 64 || pattern % 9 === 0,
);

describe('products and squares', () => {
  test('are exact with all limbs at the limits, with any signs', () => {
    for (const [a, b] of FACTORS) {
      for (const p of PATTERNS) {
        for (const q of PATTERNS) {
          const x: Pair = [atLimit(a * CARRIED, p), atLimit(a * CARRIED, q)];
          const y: Pair = [atLimit(b * CARRIED, q), atLimit(b * CARRIED, p ^ 21)];
          const result = run('product', x, y);
          for (const lane of [0, 1]) {
            if (mod(valueOf(result[lane])) !== mod(value(x, lane) * value(y, lane)))
              expect.fail(`${a} ${b} ${p} ${q}`);
            expectCarried(result[lane]);
          }
        }
      }
    }
    for (const p of PATTERNS) {
      for (const q of PATTERNS) {
        const x: Pair = [atLimit(3 * CARRIED, p), atLimit(3 * CARRIED, q)];
        const v: Pair = [atLimit(CARRIED, ~p), atLimit(CARRIED, q)];
        const w: Pair = [atLimit(CARRIED, q), atLimit(CARRIED, ~q)];
        expectResults(run('square', x), (lane) => value(x, lane) ** 2n);
        expectResults(
          run('squareMinusTwo', x, v, w),
          (lane) => value(x, lane) ** 2n - value(v, lane) - value(w, lane),
        );
        expectResults(
          run('productMinusTwo', x, x, v, w),
          (lane) => value(x, lane) ** 2n - value(v, lane) - value(w, lane),
        );
      }
    }
  });

  test.each(FACTORS)('are exact within %d and %d times a carried element', (a, b) => {
    const pairOf = (times: number) => fc.tuple(elements(times * CARRIED), elements(times * CARRIED));
    fc.assert(
      fc.property(pairOf(a), pairOf(b), pairOf(1), pairOf(1), (x, y, v, w) => {
        expectResults(run('product', x, y), (lane) => value(x, lane) * value(y, lane));
        expectResults(
          run('productMinusTwo', x, y, v, w),
          (lane) => value(x, lane) * value(y, lane) - value(v, lane) - value(w, lane),
        );
        if (a > 3) return;
        expectResults(run('square', x), (lane) => value(x, lane) ** 2n);
        expectResults(
          run('squareMinusTwo', x, v, w),
          (lane) => value(x, lane) ** 2n - value(v, lane) - value(w, lane),
        );
      }),
      { numRuns: runs(5000) },
    );
  });
});

test('a24 times a difference, and more, is exact and at most two carried elements', () => {
  const expectExact = (x: Pair, y: Pair) => {
    run('plusA24Times', x, y).forEach((limbs, lane) => {
      expect(mod(valueOf(limbs))).toBe(mod(121665n * value(x, lane) + value(y, lane)));
      limbs.forEach((limb, i) => {
        expect(Math.abs(limb)).toBeLessThanOrEqual(2 * CARRIED * halves[i]);
      });
    });
  };
  for (const p of PATTERNS) {
    for (const q of PATTERNS) {
      expectExact(
        [atLimit(2 * CARRIED, p), atLimit(2 * CARRIED, q)],
        [atLimit(CARRIED, q), atLimit(CARRIED, p)],
      );
    }
  }
  const [twice, once] = [2, 1].map((times) => fc.tuple(elements(times * CARRIED), elements(times * CARRIED)));
  fc.assert(fc.property(twice, once, expectExact), { numRuns: runs(2000) });
});

describe('a kernel', () => {
  const kernel = Kernel.make();

  test('rounds a fused multiplication and addition once', async () => {
    expect((await kernel).isFused()).toBe(true);
  });

  test('reads what it wrote, lane by lane, and leaves the other lane alone', async () => {
    const { ...own } = { kernel: await kernel };
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }), fc.nat(1), (number, lane) => {
        own.kernel.writeSmall(START, 7);
        own.kernel.write(START, lane, bytesOf(number), 0);
        expect(mod(valueOf([...own.kernel.read(START, lane)]))).toBe(mod(number % 2n ** 255n));
        expect(valueOf([...own.kernel.read(START, 1 - lane)])).toBe(7n);
      }),
      { numRuns: runs(1000) },
    );
  });

  test('inverts, and gives 0 for 0, each lane for itself', async () => {
    const own = await kernel;
    const [x, out] = [START, START + ELEMENT];
    for (const [first, second] of [
      [0n, 5n],
      [1n, P - 1n],
      [2n ** 200n + 9n, 0n],
      [P, 2n],
      [0n, 0n],
    ]) {
      [first, second].forEach((number, lane) => {
        own.write(x, lane, bytesOf(number), 0);
      });
      expect(own.hasZero(x)).toBe(first % P === 0n || second % P === 0n);
      own.invert(out, x);
      [first, second].forEach((number, lane) => {
        const inverse = mod(valueOf([...own.read(out, lane)]));
        expect(mod(inverse * number)).toBe(mod(number) === 0n ? 0n : 1n);
        if (mod(number) === 0n) expect(inverse).toBe(0n);
      });
    }
  });

  test('raises to powers of two', async () => {
    const own = await kernel;
    own.write(START, 0, bytesOf(3n), 0);
    own.write(START, 1, bytesOf(P - 7n), 0);
    for (const times of [1, 2, 10, 300]) {
      own.functions.squareTimes(START + ELEMENT, START, times);
      const power = (base: bigint) => Array.from({ length: times }).reduce<bigint>((x) => (x * x) % P, base);
      expect(mod(valueOf([...own.read(START + ELEMENT, 0)]))).toBe(power(3n));
      expect(mod(valueOf([...own.read(START + ELEMENT, 1)]))).toBe(power((7n * (P - 1n)) % P));
    }
  });
});

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  multiplyDifference,
  multiplyDifferenceMinus,
  squareMinusTwo,
  multiply,
  square,
} from '../../src/curve25519/field-mul.js';
import {
  invert,
  invertMany,
  LIMBS,
  add,
  carry,
  copy,
  fromBytes,
  isZeroElement,
  setSmall,
  subtract,
  toBytes,
} from '../../src/curve25519/field.js';
import { bytesOf, uOf } from '../contracts/x25519.js';
import { runs } from '../support/runs.js';

const P = 2n ** 255n - 19n;

/** e(0) to e(12). */
const EXPONENTS = Array.from({ length: LIMBS + 1 }, (_, i) => Math.ceil(21.25 * i));

function mod(value: bigint): bigint {
  return ((value % P) + P) % P;
}

/** The exact sum of the limbs: every limb is an integer, so BigInt converts it without rounding. */
function valueOf(element: Float64Array, at = 0): bigint {
  let sum = 0n;
  for (let i = 0; i < LIMBS; i++) sum += BigInt(element[at + i]);
  return sum;
}

function elementOf(value: bigint): Float64Array {
  const element = new Float64Array(LIMBS);
  fromBytes(element, 0, bytesOf(mod(value)), 0);
  return element;
}

/** h(i), half the width of a limb. */
function half(i: number): number {
  return 2 ** (EXPONENTS[i + 1] - 1);
}

/** The largest limb within `times` h(i), a multiple of its weight. */
function limit(i: number, times: number): number {
  const weight = 2 ** EXPONENTS[i];
  return Math.floor((times * half(i)) / weight) * weight;
}

function expectCarried(element: Float64Array): void {
  for (let i = 0; i < LIMBS; i++) {
    expect(Math.abs(element[i])).toBeLessThanOrEqual(1.01 * half(i));
    expect(element[i] % 2 ** EXPONENTS[i]).toBe(element[i] < 0 ? -0 : 0);
  }
}

/** Elements with limbs up to `times` h(i), often at the limit itself. */
function elements(times: number): fc.Arbitrary<Float64Array> {
  const limbs = Array.from({ length: LIMBS }, (_, i) => {
    const most = limit(i, times) / 2 ** EXPONENTS[i];
    return fc
      .oneof(fc.constantFrom(-most, most, 0), fc.integer({ min: -most, max: most }))
      .map((limb) => limb * 2 ** EXPONENTS[i]);
  });
  return fc.tuple(...limbs).map((values) => Float64Array.from(values));
}

const CARRIED = 1.01;
const SUM = 2.02;
const carried = elements(CARRIED);
const sum = elements(SUM);
const out = (): Float64Array => new Float64Array(LIMBS);

/** An element with every limb at the limit, with the signs of a pattern. */
function atLimit(times: number, pattern: number): Float64Array {
  return Float64Array.from({ length: LIMBS }, (_, i) => (pattern & (1 << i) ? -1 : 1) * limit(i, times));
}

/** Sign patterns that maximise each column, and some between. */
const PATTERNS = [0, 0xfff, 0x555, 0xaaa, 0x333, 0xf0f, 0x0ff, 0x001, 0x800];

describe('products', () => {
  test('are exact with all limbs at the limits, with any signs', () => {
    for (const a of PATTERNS) {
      for (const b of PATTERNS) {
        const x = atLimit(SUM, a);
        const y = atLimit(SUM, b);
        const result = out();
        multiply(result, 0, x, 0, y, 0);
        expect(mod(valueOf(result))).toBe(mod(valueOf(x) * valueOf(y)));
        expectCarried(result);
        square(result, 0, x, 0);
        expect(mod(valueOf(result))).toBe(mod(valueOf(x) ** 2n));
        expectCarried(result);
        const z = atLimit(CARRIED, a);
        const w = atLimit(CARRIED, ~a);
        const v = atLimit(CARRIED, b);
        multiplyDifference(result, 0, z, 0, w, 0, y, 0);
        expect(mod(valueOf(result))).toBe(mod((valueOf(z) - valueOf(w)) * valueOf(y)));
        expectCarried(result);
        multiplyDifferenceMinus(result, 0, z, 0, w, 0, y, 0, v, 0);
        expect(mod(valueOf(result))).toBe(mod((valueOf(z) - valueOf(w)) * valueOf(y) - valueOf(v)));
        expectCarried(result);
        squareMinusTwo(result, 0, x, 0, v, 0, z, 0);
        expect(mod(valueOf(result))).toBe(mod(valueOf(x) ** 2n - valueOf(v) - valueOf(z)));
        expectCarried(result);
      }
    }
  });

  test('keep each column below 2^51.1 times its weight and its folded part below 2^46.9', () => {
    for (let k = 0; k < LIMBS; k++) {
      let low = 0;
      let high = 0;
      for (let i = 0; i < LIMBS; i++) {
        if (i <= k) low += limit(i, SUM) * limit(k - i, SUM);
        else high += limit(i, SUM) * limit(k + LIMBS - i, SUM);
      }
      const weight = 2 ** EXPONENTS[k];
      expect(high / weight / 2 ** 255).toBeLessThan(2 ** 46.9);
      expect(low / weight + (19 * high) / weight / 2 ** 255).toBeLessThan(2 ** 51.1);
    }
  });

  test('are exact modulo p and carried', () => {
    fc.assert(
      fc.property(sum, sum, carried, carried, carried, (x, y, z, w, v) => {
        const result = out();
        multiply(result, 0, x, 0, y, 0);
        expect(mod(valueOf(result))).toBe(mod(valueOf(x) * valueOf(y)));
        expectCarried(result);
        square(result, 0, x, 0);
        expect(mod(valueOf(result))).toBe(mod(valueOf(x) * valueOf(x)));
        expectCarried(result);
        multiplyDifference(result, 0, z, 0, w, 0, y, 0);
        expect(mod(valueOf(result))).toBe(mod((valueOf(z) - valueOf(w)) * valueOf(y)));
        multiplyDifferenceMinus(result, 0, z, 0, w, 0, y, 0, v, 0);
        expect(mod(valueOf(result))).toBe(mod((valueOf(z) - valueOf(w)) * valueOf(y) - valueOf(v)));
        squareMinusTwo(result, 0, x, 0, z, 0, w, 0);
        expect(mod(valueOf(result))).toBe(mod(valueOf(x) ** 2n - valueOf(z) - valueOf(w)));
        expectCarried(result);
      }),
      { numRuns: runs(2000) },
    );
  });

  test('may overwrite any of their inputs, at any offset', () => {
    fc.assert(
      fc.property(carried, carried, carried, (x, y, z) => {
        const row = (): Float64Array => Float64Array.from([...x, ...y, ...z]);
        const at = (i: number): number => i * LIMBS;
        for (const o of [0, 1, 2].map(at)) {
          const expected = out();
          const all = row();
          multiply(expected, 0, x, 0, y, 0);
          multiply(all, o, all, at(0), all, at(1));
          expect(all.slice(o, o + LIMBS)).toEqual(expected);
          square(expected, 0, y, 0);
          all.set(row());
          square(all, o, all, at(1));
          expect(all.slice(o, o + LIMBS)).toEqual(expected);
          multiplyDifference(expected, 0, x, 0, y, 0, z, 0);
          all.set(row());
          multiplyDifference(all, o, all, at(0), all, at(1), all, at(2));
          expect(all.slice(o, o + LIMBS)).toEqual(expected);
          multiplyDifferenceMinus(expected, 0, x, 0, y, 0, z, 0, x, 0);
          all.set(row());
          multiplyDifferenceMinus(all, o, all, at(0), all, at(1), all, at(2), all, at(0));
          expect(all.slice(o, o + LIMBS)).toEqual(expected);
          squareMinusTwo(expected, 0, x, 0, y, 0, z, 0);
          all.set(row());
          squareMinusTwo(all, o, all, at(0), all, at(1), all, at(2));
          expect(all.slice(o, o + LIMBS)).toEqual(expected);
        }
      }),
    );
  });
});

describe('carry', () => {
  test('is exact at its limit, 2^46 times the weight', () => {
    for (const pattern of PATTERNS) {
      const x = Float64Array.from(
        { length: LIMBS },
        (_, i) => (pattern & (1 << i) ? -1 : 1) * 2 ** (46 + EXPONENTS[i]),
      );
      const value = valueOf(x);
      carry(x, 0);
      expect(mod(valueOf(x))).toBe(mod(value));
      expectCarried(x);
    }
  });

  test('keeps the value', () => {
    fc.assert(
      fc.property(elements(2 ** 20), (x) => {
        const value = valueOf(x);
        carry(x, 0);
        expect(mod(valueOf(x))).toBe(mod(value));
        expectCarried(x);
      }),
    );
  });
});

describe('sums and differences', () => {
  test('are limb by limb', () => {
    fc.assert(
      fc.property(sum, sum, (x, y) => {
        const result = out();
        add(result, 0, x, 0, y, 0);
        expect(valueOf(result)).toBe(valueOf(x) + valueOf(y));
        subtract(result, 0, x, 0, y, 0);
        expect(valueOf(result)).toBe(valueOf(x) - valueOf(y));
      }),
    );
  });
});

test('no function writes beside its element', () => {
  const x = elementOf(5n ** 90n);
  const y = elementOf(7n ** 80n);
  const writers: Record<string, (out: Float64Array, o: number) => void> = {
    add: (out, o) => {
      add(out, o, x, 0, y, 0);
    },
    subtract: (out, o) => {
      subtract(out, o, x, 0, y, 0);
    },
    copy: (out, o) => {
      copy(out, o, x, 0);
    },
    setSmall: (out, o) => {
      setSmall(out, o, 9);
    },
    carry: (out, o) => {
      out.set(x, o);
      carry(out, o);
    },
    fromBytes: (out, o) => {
      fromBytes(out, o, bytesOf(mod(5n ** 90n)), 0);
    },
    multiply: (out, o) => {
      multiply(out, o, x, 0, y, 0);
    },
    square: (out, o) => {
      square(out, o, x, 0);
    },
    invert: (out, o) => {
      invert(out, o, x, 0);
    },
  };
  for (const [name, write] of Object.entries(writers)) {
    const row = Float64Array.from({ length: 3 * LIMBS }, () => 0.5);
    write(row, LIMBS);
    const beside = [...row.slice(0, LIMBS), ...row.slice(2 * LIMBS)];
    expect(beside, name).toEqual(beside.map(() => 0.5));
    expect(row.slice(LIMBS, 2 * LIMBS), name).not.toContain(0.5);
  }
});

test('setSmall overwrites every limb', () => {
  for (const value of [0, 1, 9, 2 ** 20]) {
    const element = Float64Array.from({ length: LIMBS }, () => 2 ** 30);
    setSmall(element, 0, value);
    expect([...element]).toEqual([value, ...Array.from({ length: LIMBS - 1 }, () => 0)]);
  }
});

describe('bytes', () => {
  const edges = [0n, 1n, 18n, 19n, 20n, P - 1n, P, P + 1n, P + 18n, 2n ** 255n - 1n, 2n ** 254n, 2n ** 22n];

  test('are read modulo p without bit 255 and written below p', () => {
    const values = fc.oneof(fc.constantFrom(...edges), fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }));
    fc.assert(
      fc.property(values, (value) => {
        const element = out();
        fromBytes(element, 0, bytesOf(value), 0);
        expectCarried(element);
        expect(mod(valueOf(element))).toBe(mod(value % 2n ** 255n));
        const bytes = new Uint8Array(34).fill(7);
        toBytes(bytes, 1, element, 0);
        expect(bytes.slice(1, 33)).toEqual(bytesOf(mod(value % 2n ** 255n)));
        expect([bytes[0], bytes[33]]).toEqual([7, 7]);
      }),
      { numRuns: runs(1000) },
    );
  });

  test('are written from every sum of two elements', () => {
    fc.assert(
      fc.property(sum, (x) => {
        const bytes = new Uint8Array(32);
        toBytes(bytes, 0, x, 0);
        expect(bytes).toEqual(bytesOf(mod(valueOf(x))));
        expect(uOf(bytes)).toBeLessThan(P);
      }),
      { numRuns: runs(1000) },
    );
    for (const pattern of PATTERNS) {
      const bytes = new Uint8Array(32);
      toBytes(bytes, 0, atLimit(SUM, pattern), 0);
      expect(bytes).toEqual(bytesOf(mod(valueOf(atLimit(SUM, pattern)))));
    }
  });

  test('are written from elements near multiples of 2^255', () => {
    for (let multiple = -2; multiple <= 2; multiple++) {
      for (let beside = -60; beside <= 60; beside++) {
        const element = out();
        element[11] = multiple * 2 ** 255;
        element[0] = beside;
        const bytes = new Uint8Array(32);
        toBytes(bytes, 0, element, 0);
        expect(uOf(bytes)).toBe(mod(valueOf(element)));
      }
    }
  });

  test('isZeroElement is 1 for small multiples of p and 0 for their neighbours', () => {
    for (let multiple = -2n; multiple <= 2n; multiple++) {
      for (const [beside, expected] of [
        [0n, 1],
        [1n, 0],
        [-1n, 0],
      ] as const) {
        const element = out();
        // Limb 11 is the multiple times 2^255, limb 0 the multiple times -19.
        element[11] = Number(multiple) * 2 ** 255;
        element[0] = Number(-19n * multiple + beside);
        expect(isZeroElement(element, 0)).toBe(expected);
      }
    }
  });
});

describe('inverses', () => {
  test('times the element are one; the inverse of zero is zero', () => {
    fc.assert(
      fc.property(sum, (x) => {
        const inverse = out();
        invert(inverse, 0, x, 0);
        expectCarried(inverse);
        expect(mod(valueOf(inverse) * valueOf(x))).toBe(mod(valueOf(x)) === 0n ? 0n : 1n);
      }),
      { numRuns: 50 },
    );
    const zero = out();
    invert(zero, 0, elementOf(0n), 0);
    expect(mod(valueOf(zero))).toBe(0n);
  });

  test('may overwrite the element', () => {
    const x = elementOf(5n);
    invert(x, 0, x, 0);
    expect(mod(valueOf(x) * 5n)).toBe(1n);
  });

  test('of many at once, with any form of zero at every position and with zeros only', () => {
    const zeros = [elementOf(0n), Float64Array.from({ length: LIMBS }, (_, i) => (i ? 0 : 0))];
    // p itself: 2^255 in the highest limb, -19 in the lowest.
    const prime = out();
    prime[0] = -19;
    prime[11] = 2 ** 255;
    zeros.push(prime);
    for (let size = 1; size <= 7; size++) {
      for (let position = 0; position <= size; position++) {
        for (const zero of zeros) {
          const values = Array.from({ length: size }, (_, i) =>
            i === position ? zero : elementOf(BigInt(i + 2) ** 80n),
          );
          const all = Float64Array.from(values.flatMap((value) => [...value]));
          invertMany(all, 0, size, new Float64Array(size * LIMBS));
          values.forEach((value, i) => {
            const expected = i === position ? 0n : 1n;
            expect(mod(valueOf(all, i * LIMBS) * mod(valueOf(value)))).toBe(expected);
            if (i === position) expect(mod(valueOf(all, i * LIMBS))).toBe(0n);
          });
        }
      }
      const none = new Float64Array(size * LIMBS);
      invertMany(none, 0, size, new Float64Array(size * LIMBS));
      expect(none.every((limb) => limb === 0)).toBe(true);
    }
    invertMany(new Float64Array(0), 0, 0, new Float64Array(0));
  });
});

test('setSmall accepts 2^20', () => {
  const element = Float64Array.from({ length: LIMBS }, () => 5);
  setSmall(element, 0, 2 ** 20);
  expect(valueOf(element)).toBe(2n ** 20n);
});

test('field-mul.ts is what its generator prints', () => {
  const root = new URL('../../', import.meta.url);
  const generator = fileURLToPath(new URL('scripts/generate-field-mul.mjs', root));
  const committed = readFileSync(new URL('src/curve25519/field-mul.ts', root), 'utf8');
  expect(execFileSync(process.execPath, [generator], { encoding: 'utf8' })).toBe(committed);
});

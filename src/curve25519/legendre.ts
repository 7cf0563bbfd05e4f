/**
 * The Legendre symbol modulo p = 2^255 - 19, for public data only: its time depends on the number.
 *
 * It is found by reciprocity, as the greatest common divisor is, from the lowest bits up. The numbers f (odd) and g stay
 * positive: where g is odd a multiple of f is added to it, which makes it even. Halving it or exchanging the two changes
 * the symbol (g / f) by rules that depend on their last three bits. So a few steps at a time are found from the last
 * bits alone, and then applied to the whole numbers as one matrix. This takes less than half as long as a power.
 */

/** Bits of a limb, and steps between two updates: products of a limb and a matrix entry stay below 2^48. */
const WIDTH = 24;
const BASE = 2 ** WIDTH;
const INVERSE_BASE = 2 ** -WIDTH;
const LIMBS = 11;

/** Enough for all but one number in millions, and for some small ones and their negatives; those come to no end. */
const MAX_UPDATES = 40;

// Of the steps: the matrix, by which f becomes (FF f + FG g) / BASE and g becomes (GF f + GG g) / BASE; how many bits f is
// longer than g, roughly, counted from -1; and in its lowest bit whether the symbol has changed its sign.
const FF = 0;
const FG = 1;
const GF = 2;
const GG = 3;
const LEAD = 4;
const FLIPS = 5;

let scratch: Readonly<{ f: Float64Array; g: Float64Array; steps: Int32Array }> | undefined;

/**
 * The Legendre symbol of a number below p.
 *
 * @param number - 32 bytes, little-endian.
 * @returns 1 for a square, -1 for any other number, 0 for 0; `undefined` for the few numbers where this comes to no end.
 */
export function legendre(number: Uint8Array): -1 | 0 | 1 | undefined {
  const { f, g, steps } = (scratch ??= {
    f: new Float64Array(LIMBS),
    g: new Float64Array(LIMBS),
    steps: new Int32Array(6),
  });
  // p in limbs.
  f.fill(BASE - 1);
  f[0] = BASE - 19;
  f[LIMBS - 1] = 0x7fff;
  let any = 0;
  for (let i = 0; i < LIMBS; i++) {
    const third = i < LIMBS - 1 ? number[3 * i + 2] : 0;
    g[i] = number[3 * i] | (number[3 * i + 1] << 8) | (third << 16);
    any += g[i];
  }
  if (any === 0) return 0;
  steps[LEAD] = -1;
  steps[FLIPS] = 0;
  let length = LIMBS;
  for (let update = 0; update < MAX_UPDATES; update++) {
    stepLowBits(steps, f[0] + f[1] * BASE, g[0] + g[1] * BASE);
    const rest = applySteps(steps, f, g, length);
    if (f[0] === 1 && rest === 0) return (steps[FLIPS] & 1) === 0 ? 1 : -1;
    if (length > 2 && f[length - 1] + g[length - 1] === 0) length--;
  }
  return undefined;
}

/** Finds the next steps from the lowest bits. Variables are exchanged by a third: destructuring takes twice as long. */
function stepLowBits(steps: Int32Array, lowF: number, lowG: number): void {
  let f = lowF | 0;
  let g = lowG | 0;
  let ff = 1;
  let fg = 0;
  let gf = 0;
  let gg = 1;
  let lead = steps[LEAD];
  let flips = steps[FLIPS];
  for (let left = WIDTH, other = 0; ;) {
    // The bit at `left` stops the count.
    const stopped = g | (1 << left);
    const zeros = 31 - Math.clz32(stopped & -stopped);
    g >>= zeros;
    ff <<= zeros;
    fg <<= zeros;
    lead = (lead - zeros) | 0;
    left = (left - zeros) | 0;
    // (2 / f) is -1 where f is 3 or 5 modulo 8.
    flips ^= zeros & ((f >> 1) ^ (f >> 2));
    if (left === 0) break;
    if (lead < 0) {
      lead = -lead | 0;
      // (f / g) (g / f) is -1 where both are 3 modulo 4.
      flips ^= (f & g) >> 1;
      other = f;
      f = g;
      g = other;
      other = ff;
      ff = gf;
      gf = other;
      other = fg;
      fg = gg;
      gg = other;
    }
    // Up to four bits of g at once. 1 / f modulo 16 is f (2 - f f), since f f is 1 modulo 8.
    const bits = Math.min((lead + 1) | 0, left, 4);
    const times = -Math.imul(g, Math.imul(f, 2 - Math.imul(f, f))) & ((1 << bits) - 1);
    g = (g + Math.imul(f, times)) | 0;
    gf = (gf + Math.imul(ff, times)) | 0;
    gg = (gg + Math.imul(fg, times)) | 0;
  }
  steps[FF] = ff;
  steps[FG] = fg;
  steps[GF] = gf;
  steps[GG] = gg;
  steps[LEAD] = lead;
  steps[FLIPS] = flips;
}

/** Applies steps to the whole numbers. Returns the sum of f's limbs above the lowest. */
function applySteps(steps: Int32Array, f: Float64Array, g: Float64Array, length: number): number {
  const ff = steps[FF];
  const fg = steps[FG];
  const gf = steps[GF];
  const gg = steps[GG];
  let carryF = 0;
  let carryG = 0;
  let rest = 0;
  for (let i = 0; i < length; i++) {
    const nextF = ff * f[i] + fg * g[i] + carryF;
    const nextG = gf * f[i] + gg * g[i] + carryG;
    carryF = Math.floor(nextF * INVERSE_BASE);
    carryG = Math.floor(nextG * INVERSE_BASE);
    // The lowest limbs are zero by now, and the others move down.
    if (i === 0) continue;
    const limb = nextF - carryF * BASE;
    f[(i - 1) | 0] = limb;
    g[(i - 1) | 0] = nextG - carryG * BASE;
    if (i > 1) rest += limb;
  }
  f[length - 1] = carryF;
  g[length - 1] = carryG;
  return rest + carryF;
}

/**
 * Products with the subtractions of an affine addition inside: before the carry they cost next to nothing.
 * The same columns and carries, and the same bounds, as in field-product.ts; a carried element subtracted from
 * the columns adds less than 2^22 to a column below 2^51.1.
 */

/** out = (x - z) y; x and z carried, y at most a sum or difference of two. The result is carried. */
// prettier-ignore
export function multiplyDifference(
  out: Float64Array, o: number, x: Float64Array, p: number, z: Float64Array, r: number, y: Float64Array, q: number,
): void {
  const ROUND_22 = 1.5 * 2 ** 74, ROUND_43 = 1.5 * 2 ** 95, ROUND_64 = 1.5 * 2 ** 116, ROUND_85 = 1.5 * 2 ** 137;
  const ROUND_107 = 1.5 * 2 ** 159, ROUND_128 = 1.5 * 2 ** 180, ROUND_149 = 1.5 * 2 ** 201, ROUND_170 = 1.5 * 2 ** 222;
  const ROUND_192 = 1.5 * 2 ** 244, ROUND_213 = 1.5 * 2 ** 265, ROUND_234 = 1.5 * 2 ** 286, ROUND_255 = 1.5 * 2 ** 307;
  const FOLD = 19 * 2 ** -255;
  const a0 = x[p] - z[r], a1 = x[(p + 1) | 0] - z[(r + 1) | 0];
  const a2 = x[(p + 2) | 0] - z[(r + 2) | 0], a3 = x[(p + 3) | 0] - z[(r + 3) | 0];
  const a4 = x[(p + 4) | 0] - z[(r + 4) | 0], a5 = x[(p + 5) | 0] - z[(r + 5) | 0];
  const a6 = x[(p + 6) | 0] - z[(r + 6) | 0], a7 = x[(p + 7) | 0] - z[(r + 7) | 0];
  const a8 = x[(p + 8) | 0] - z[(r + 8) | 0], a9 = x[(p + 9) | 0] - z[(r + 9) | 0];
  const a10 = x[(p + 10) | 0] - z[(r + 10) | 0], a11 = x[(p + 11) | 0] - z[(r + 11) | 0];
  const b0 = y[q], b1 = y[(q + 1) | 0], b2 = y[(q + 2) | 0], b3 = y[(q + 3) | 0];
  const b4 = y[(q + 4) | 0], b5 = y[(q + 5) | 0], b6 = y[(q + 6) | 0], b7 = y[(q + 7) | 0];
  const b8 = y[(q + 8) | 0], b9 = y[(q + 9) | 0], b10 = y[(q + 10) | 0], b11 = y[(q + 11) | 0];
  let c0 = a0*b0
    + FOLD * (a1*b11 + a2*b10 + a3*b9 + a4*b8 + a5*b7 + a6*b6 + a7*b5 + a8*b4 + a9*b3 + a10*b2 + a11*b1);
  const carry1 = (c0 + ROUND_22) - ROUND_22;
  const c1 = a0*b1 + a1*b0
    + FOLD * (a2*b11 + a3*b10 + a4*b9 + a5*b8 + a6*b7 + a7*b6 + a8*b5 + a9*b4 + a10*b3 + a11*b2) + carry1;
  const carry2 = (c1 + ROUND_43) - ROUND_43;
  const c2 = a0*b2 + a1*b1 + a2*b0
    + FOLD * (a3*b11 + a4*b10 + a5*b9 + a6*b8 + a7*b7 + a8*b6 + a9*b5 + a10*b4 + a11*b3) + carry2;
  const carry3 = (c2 + ROUND_64) - ROUND_64;
  out[(o + 2) | 0] = c2 - carry3;
  const c3 = a0*b3 + a1*b2 + a2*b1 + a3*b0
    + FOLD * (a4*b11 + a5*b10 + a6*b9 + a7*b8 + a8*b7 + a9*b6 + a10*b5 + a11*b4) + carry3;
  const carry4 = (c3 + ROUND_85) - ROUND_85;
  out[(o + 3) | 0] = c3 - carry4;
  const c4 = a0*b4 + a1*b3 + a2*b2 + a3*b1 + a4*b0
    + FOLD * (a5*b11 + a6*b10 + a7*b9 + a8*b8 + a9*b7 + a10*b6 + a11*b5) + carry4;
  const carry5 = (c4 + ROUND_107) - ROUND_107;
  out[(o + 4) | 0] = c4 - carry5;
  const c5 = a0*b5 + a1*b4 + a2*b3 + a3*b2 + a4*b1 + a5*b0
    + FOLD * (a6*b11 + a7*b10 + a8*b9 + a9*b8 + a10*b7 + a11*b6) + carry5;
  const carry6 = (c5 + ROUND_128) - ROUND_128;
  out[(o + 5) | 0] = c5 - carry6;
  const c6 = a0*b6 + a1*b5 + a2*b4 + a3*b3 + a4*b2 + a5*b1 + a6*b0
    + FOLD * (a7*b11 + a8*b10 + a9*b9 + a10*b8 + a11*b7) + carry6;
  const carry7 = (c6 + ROUND_149) - ROUND_149;
  out[(o + 6) | 0] = c6 - carry7;
  const c7 = a0*b7 + a1*b6 + a2*b5 + a3*b4 + a4*b3 + a5*b2 + a6*b1 + a7*b0
    + FOLD * (a8*b11 + a9*b10 + a10*b9 + a11*b8) + carry7;
  const carry8 = (c7 + ROUND_170) - ROUND_170;
  out[(o + 7) | 0] = c7 - carry8;
  const c8 = a0*b8 + a1*b7 + a2*b6 + a3*b5 + a4*b4 + a5*b3 + a6*b2 + a7*b1 + a8*b0
    + FOLD * (a9*b11 + a10*b10 + a11*b9) + carry8;
  const carry9 = (c8 + ROUND_192) - ROUND_192;
  out[(o + 8) | 0] = c8 - carry9;
  const c9 = a0*b9 + a1*b8 + a2*b7 + a3*b6 + a4*b5 + a5*b4 + a6*b3 + a7*b2 + a8*b1 + a9*b0
    + FOLD * (a10*b11 + a11*b10) + carry9;
  const carry10 = (c9 + ROUND_213) - ROUND_213;
  out[(o + 9) | 0] = c9 - carry10;
  const c10 = a0*b10 + a1*b9 + a2*b8 + a3*b7 + a4*b6 + a5*b5
    + a6*b4 + a7*b3 + a8*b2 + a9*b1 + a10*b0
    + FOLD * a11*b11 + carry10;
  const carry11 = (c10 + ROUND_234) - ROUND_234;
  out[(o + 10) | 0] = c10 - carry11;
  const c11 = a0*b11 + a1*b10 + a2*b9 + a3*b8 + a4*b7 + a5*b6
    + a6*b5 + a7*b4 + a8*b3 + a9*b2 + a10*b1 + a11*b0 + carry11;
  const carry12 = (c11 + ROUND_255) - ROUND_255;
  out[(o + 11) | 0] = c11 - carry12;
  // What leaves the top comes back at the bottom, times 19; limb 0 is carried once more.
  c0 = c0 - carry1 + FOLD * carry12;
  const last = (c0 + ROUND_22) - ROUND_22;
  out[o] = c0 - last;
  out[(o + 1) | 0] = c1 - carry2 + last;
}

/** out = (x - z) y - v; x, z and v carried, y at most a sum or difference of two. The result is carried. */
// prettier-ignore
export function multiplyDifferenceMinus(
  out: Float64Array, o: number, x: Float64Array, p: number, z: Float64Array, r: number, y: Float64Array, q: number,
  v: Float64Array, s: number,
): void {
  const ROUND_22 = 1.5 * 2 ** 74, ROUND_43 = 1.5 * 2 ** 95, ROUND_64 = 1.5 * 2 ** 116, ROUND_85 = 1.5 * 2 ** 137;
  const ROUND_107 = 1.5 * 2 ** 159, ROUND_128 = 1.5 * 2 ** 180, ROUND_149 = 1.5 * 2 ** 201, ROUND_170 = 1.5 * 2 ** 222;
  const ROUND_192 = 1.5 * 2 ** 244, ROUND_213 = 1.5 * 2 ** 265, ROUND_234 = 1.5 * 2 ** 286, ROUND_255 = 1.5 * 2 ** 307;
  const FOLD = 19 * 2 ** -255;
  const a0 = x[p] - z[r], a1 = x[(p + 1) | 0] - z[(r + 1) | 0];
  const a2 = x[(p + 2) | 0] - z[(r + 2) | 0], a3 = x[(p + 3) | 0] - z[(r + 3) | 0];
  const a4 = x[(p + 4) | 0] - z[(r + 4) | 0], a5 = x[(p + 5) | 0] - z[(r + 5) | 0];
  const a6 = x[(p + 6) | 0] - z[(r + 6) | 0], a7 = x[(p + 7) | 0] - z[(r + 7) | 0];
  const a8 = x[(p + 8) | 0] - z[(r + 8) | 0], a9 = x[(p + 9) | 0] - z[(r + 9) | 0];
  const a10 = x[(p + 10) | 0] - z[(r + 10) | 0], a11 = x[(p + 11) | 0] - z[(r + 11) | 0];
  const b0 = y[q], b1 = y[(q + 1) | 0], b2 = y[(q + 2) | 0], b3 = y[(q + 3) | 0];
  const b4 = y[(q + 4) | 0], b5 = y[(q + 5) | 0], b6 = y[(q + 6) | 0], b7 = y[(q + 7) | 0];
  const b8 = y[(q + 8) | 0], b9 = y[(q + 9) | 0], b10 = y[(q + 10) | 0], b11 = y[(q + 11) | 0];
  let c0 = a0*b0
    + FOLD * (a1*b11 + a2*b10 + a3*b9 + a4*b8 + a5*b7 + a6*b6 + a7*b5 + a8*b4 + a9*b3 + a10*b2 + a11*b1)
    - v[s];
  const carry1 = (c0 + ROUND_22) - ROUND_22;
  const c1 = a0*b1 + a1*b0
    + FOLD * (a2*b11 + a3*b10 + a4*b9 + a5*b8 + a6*b7 + a7*b6 + a8*b5 + a9*b4 + a10*b3 + a11*b2) - v[(s
    + 1) | 0] + carry1;
  const carry2 = (c1 + ROUND_43) - ROUND_43;
  const c2 = a0*b2 + a1*b1 + a2*b0
    + FOLD * (a3*b11 + a4*b10 + a5*b9 + a6*b8 + a7*b7 + a8*b6 + a9*b5 + a10*b4 + a11*b3) - v[(s + 2) | 0]
    + carry2;
  const carry3 = (c2 + ROUND_64) - ROUND_64;
  out[(o + 2) | 0] = c2 - carry3;
  const c3 = a0*b3 + a1*b2 + a2*b1 + a3*b0
    + FOLD * (a4*b11 + a5*b10 + a6*b9 + a7*b8 + a8*b7 + a9*b6 + a10*b5 + a11*b4) - v[(s + 3) | 0] + carry3;
  const carry4 = (c3 + ROUND_85) - ROUND_85;
  out[(o + 3) | 0] = c3 - carry4;
  const c4 = a0*b4 + a1*b3 + a2*b2 + a3*b1 + a4*b0
    + FOLD * (a5*b11 + a6*b10 + a7*b9 + a8*b8 + a9*b7 + a10*b6 + a11*b5) - v[(s + 4) | 0] + carry4;
  const carry5 = (c4 + ROUND_107) - ROUND_107;
  out[(o + 4) | 0] = c4 - carry5;
  const c5 = a0*b5 + a1*b4 + a2*b3 + a3*b2 + a4*b1 + a5*b0
    + FOLD * (a6*b11 + a7*b10 + a8*b9 + a9*b8 + a10*b7 + a11*b6) - v[(s + 5) | 0] + carry5;
  const carry6 = (c5 + ROUND_128) - ROUND_128;
  out[(o + 5) | 0] = c5 - carry6;
  const c6 = a0*b6 + a1*b5 + a2*b4 + a3*b3 + a4*b2 + a5*b1 + a6*b0
    + FOLD * (a7*b11 + a8*b10 + a9*b9 + a10*b8 + a11*b7) - v[(s + 6) | 0] + carry6;
  const carry7 = (c6 + ROUND_149) - ROUND_149;
  out[(o + 6) | 0] = c6 - carry7;
  const c7 = a0*b7 + a1*b6 + a2*b5 + a3*b4 + a4*b3 + a5*b2 + a6*b1 + a7*b0
    + FOLD * (a8*b11 + a9*b10 + a10*b9 + a11*b8) - v[(s + 7) | 0] + carry7;
  const carry8 = (c7 + ROUND_170) - ROUND_170;
  out[(o + 7) | 0] = c7 - carry8;
  const c8 = a0*b8 + a1*b7 + a2*b6 + a3*b5 + a4*b4 + a5*b3 + a6*b2 + a7*b1 + a8*b0
    + FOLD * (a9*b11 + a10*b10 + a11*b9) - v[(s + 8) | 0] + carry8;
  const carry9 = (c8 + ROUND_192) - ROUND_192;
  out[(o + 8) | 0] = c8 - carry9;
  const c9 = a0*b9 + a1*b8 + a2*b7 + a3*b6 + a4*b5 + a5*b4 + a6*b3 + a7*b2 + a8*b1 + a9*b0
    + FOLD * (a10*b11 + a11*b10) - v[(s + 9) | 0] + carry9;
  const carry10 = (c9 + ROUND_213) - ROUND_213;
  out[(o + 9) | 0] = c9 - carry10;
  const c10 = a0*b10 + a1*b9 + a2*b8 + a3*b7 + a4*b6 + a5*b5
    + a6*b4 + a7*b3 + a8*b2 + a9*b1 + a10*b0
    + FOLD * a11*b11 - v[(s + 10) | 0] + carry10;
  const carry11 = (c10 + ROUND_234) - ROUND_234;
  out[(o + 10) | 0] = c10 - carry11;
  const c11 = a0*b11 + a1*b10 + a2*b9 + a3*b8 + a4*b7 + a5*b6
    + a6*b5 + a7*b4 + a8*b3 + a9*b2 + a10*b1 + a11*b0 - v[(s + 11) | 0] + carry11;
  const carry12 = (c11 + ROUND_255) - ROUND_255;
  out[(o + 11) | 0] = c11 - carry12;
  // What leaves the top comes back at the bottom, times 19; limb 0 is carried once more.
  c0 = c0 - carry1 + FOLD * carry12;
  const last = (c0 + ROUND_22) - ROUND_22;
  out[o] = c0 - last;
  out[(o + 1) | 0] = c1 - carry2 + last;
}

/** out = x^2 - z - v; z and v carried, x at most a sum or difference of two. The result is carried. */
// prettier-ignore
export function squareMinusTwo(
  out: Float64Array, o: number, x: Float64Array, p: number, z: Float64Array, r: number, v: Float64Array, s: number,
): void {
  const ROUND_22 = 1.5 * 2 ** 74, ROUND_43 = 1.5 * 2 ** 95, ROUND_64 = 1.5 * 2 ** 116, ROUND_85 = 1.5 * 2 ** 137;
  const ROUND_107 = 1.5 * 2 ** 159, ROUND_128 = 1.5 * 2 ** 180, ROUND_149 = 1.5 * 2 ** 201, ROUND_170 = 1.5 * 2 ** 222;
  const ROUND_192 = 1.5 * 2 ** 244, ROUND_213 = 1.5 * 2 ** 265, ROUND_234 = 1.5 * 2 ** 286, ROUND_255 = 1.5 * 2 ** 307;
  const FOLD = 19 * 2 ** -255;
  const a0 = x[p], a1 = x[(p + 1) | 0], a2 = x[(p + 2) | 0], a3 = x[(p + 3) | 0];
  const a4 = x[(p + 4) | 0], a5 = x[(p + 5) | 0], a6 = x[(p + 6) | 0], a7 = x[(p + 7) | 0];
  const a8 = x[(p + 8) | 0], a9 = x[(p + 9) | 0], a10 = x[(p + 10) | 0], a11 = x[(p + 11) | 0];
  const d0 = a0 + a0, d1 = a1 + a1, d2 = a2 + a2, d3 = a3 + a3, d4 = a4 + a4, d5 = a5 + a5;
  const d6 = a6 + a6, d7 = a7 + a7, d8 = a8 + a8, d9 = a9 + a9, d10 = a10 + a10;
  let c0 = a0*a0
    + FOLD * (d1*a11 + d2*a10 + d3*a9 + d4*a8 + d5*a7 + a6*a6) - z[r] - v[s];
  const carry1 = (c0 + ROUND_22) - ROUND_22;
  const c1 = d0*a1
    + FOLD * (d2*a11 + d3*a10 + d4*a9 + d5*a8 + d6*a7) - z[(r + 1) | 0] - v[(s + 1) | 0] + carry1;
  const carry2 = (c1 + ROUND_43) - ROUND_43;
  const c2 = d0*a2 + a1*a1
    + FOLD * (d3*a11 + d4*a10 + d5*a9 + d6*a8 + a7*a7) - z[(r + 2) | 0] - v[(s + 2) | 0] + carry2;
  const carry3 = (c2 + ROUND_64) - ROUND_64;
  out[(o + 2) | 0] = c2 - carry3;
  const c3 = d0*a3 + d1*a2
    + FOLD * (d4*a11 + d5*a10 + d6*a9 + d7*a8) - z[(r + 3) | 0] - v[(s + 3) | 0] + carry3;
  const carry4 = (c3 + ROUND_85) - ROUND_85;
  out[(o + 3) | 0] = c3 - carry4;
  const c4 = d0*a4 + d1*a3 + a2*a2
    + FOLD * (d5*a11 + d6*a10 + d7*a9 + a8*a8) - z[(r + 4) | 0] - v[(s + 4) | 0] + carry4;
  const carry5 = (c4 + ROUND_107) - ROUND_107;
  out[(o + 4) | 0] = c4 - carry5;
  const c5 = d0*a5 + d1*a4 + d2*a3
    + FOLD * (d6*a11 + d7*a10 + d8*a9) - z[(r + 5) | 0] - v[(s + 5) | 0] + carry5;
  const carry6 = (c5 + ROUND_128) - ROUND_128;
  out[(o + 5) | 0] = c5 - carry6;
  const c6 = d0*a6 + d1*a5 + d2*a4 + a3*a3
    + FOLD * (d7*a11 + d8*a10 + a9*a9) - z[(r + 6) | 0] - v[(s + 6) | 0] + carry6;
  const carry7 = (c6 + ROUND_149) - ROUND_149;
  out[(o + 6) | 0] = c6 - carry7;
  const c7 = d0*a7 + d1*a6 + d2*a5 + d3*a4
    + FOLD * (d8*a11 + d9*a10) - z[(r + 7) | 0] - v[(s + 7) | 0] + carry7;
  const carry8 = (c7 + ROUND_170) - ROUND_170;
  out[(o + 7) | 0] = c7 - carry8;
  const c8 = d0*a8 + d1*a7 + d2*a6 + d3*a5 + a4*a4
    + FOLD * (d9*a11 + a10*a10) - z[(r + 8) | 0] - v[(s + 8) | 0] + carry8;
  const carry9 = (c8 + ROUND_192) - ROUND_192;
  out[(o + 8) | 0] = c8 - carry9;
  const c9 = d0*a9 + d1*a8 + d2*a7 + d3*a6 + d4*a5
    + FOLD * d10*a11 - z[(r + 9) | 0] - v[(s + 9) | 0] + carry9;
  const carry10 = (c9 + ROUND_213) - ROUND_213;
  out[(o + 9) | 0] = c9 - carry10;
  const c10 = d0*a10 + d1*a9 + d2*a8 + d3*a7 + d4*a6 + a5*a5
    + FOLD * a11*a11 - z[(r + 10) | 0] - v[(s + 10) | 0] + carry10;
  const carry11 = (c10 + ROUND_234) - ROUND_234;
  out[(o + 10) | 0] = c10 - carry11;
  const c11 = d0*a11 + d1*a10 + d2*a9 + d3*a8 + d4*a7 + d5*a6 - z[(r + 11) | 0] - v[(s + 11) | 0] + carry11;
  const carry12 = (c11 + ROUND_255) - ROUND_255;
  out[(o + 11) | 0] = c11 - carry12;
  // What leaves the top comes back at the bottom, times 19; limb 0 is carried once more.
  c0 = c0 - carry1 + FOLD * carry12;
  const last = (c0 + ROUND_22) - ROUND_22;
  out[o] = c0 - last;
  out[(o + 1) | 0] = c1 - carry2 + last;
}

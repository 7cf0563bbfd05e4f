// Prints src/curve25519/field-mul.ts, the field's unrolled kernels:
// node scripts/generate-field-mul.mjs > src/curve25519/field-mul.ts

const LIMBS = 12;
/** e(0) to e(12), as in src/curve25519/field.ts. */
const EXPONENTS = [0, 22, 43, 64, 85, 107, 128, 149, 170, 192, 213, 234, 255];
const limbs = Array.from({ length: LIMBS }, (_, i) => i);

/** Element `i` of an array; `| 0` keeps the index a small integer. */
const at = (array, base, i) => (i === 0 ? `${array}[${base}]` : `${array}[(${base} + ${i}) | 0]`);

const declare = (definitions, perLine = 4) =>
  definitions
    .flatMap((_, i) => (i % perLine ? [] : [`  const ${definitions.slice(i, i + perLine).join(', ')};\n`]))
    .join('');

const round = (exponent) => `ROUND_${exponent} = 1.5 * 2 ** ${52 + exponent}`;
const CONSTANTS = `${declare(EXPONENTS.slice(1).map(round))}  const FOLD = 19 * 2 ** -255;\n`;

/** `name = c(k)` rounded to the weight of limb k + 1. */
const rounded = (name, k) => `${name} = (c${k} + ROUND_${EXPONENTS[k + 1]}) - ROUND_${EXPONENTS[k + 1]}`;

function signature(name, operands) {
  const parameters = [
    'out: Float64Array, o: number',
    ...operands.map(([x, p]) => `${x}: Float64Array, ${p}: number`),
  ];
  return `export function ${name}(\n  ${parameters.join(', ')},\n): void {\n`;
}

/**
 * A product with carried columns. `factor` and `terms` give the limbs and the terms of a column, `minus` the elements
 * subtracted from the columns before the carry.
 */
function product({ comment, name, operands, loads, terms, minus = [] }) {
  let text = `/** ${comment} */\n${signature(name, operands)}${CONSTANTS}${loads}`;
  for (const k of limbs) {
    const low = terms(k, k).join(' + ');
    const high = terms(k + LIMBS, LIMBS - 1);
    let column = low;
    if (high.length > 0) column += `\n    + FOLD * ${high.length > 1 ? `(${high.join(' + ')})` : high[0]}`;
    for (const [z, r] of minus) column += ` - ${at(z, r, k)}`;
    if (k > 0) column += ` + carry${k}`;
    text += `  ${k === 0 ? 'let' : 'const'} c${k} = ${column};\n`;
    text += `  const ${rounded(`carry${k + 1}`, k)};`;
    text += k > 1 ? ` ${at('out', 'o', k)} = c${k} - carry${k + 1};\n` : '\n';
  }
  return `${text}  // The top carry returns to limb 0, times 19; limb 0 is carried once more.
  c0 = c0 - carry1 + FOLD * carry12;
  const ${rounded('last', 0)};
  out[o] = c0 - last; out[(o + 1) | 0] = c1 - carry2 + last;
}
`;
}

const loadX = declare(limbs.map((i) => `a${i} = ${at('x', 'p', i)}`));
const loadDifference = declare(
  limbs.map((i) => `a${i} = ${at('x', 'p', i)} - ${at('z', 'r', i)}`),
  2,
);
const loadY = declare(limbs.map((i) => `b${i} = ${at('y', 'q', i)}`));
const doubles = declare(
  limbs.slice(0, -1).map((i) => `d${i} = a${i} + a${i}`),
  6,
);

/** The terms a(i) b(sum - i), i at most `last`. */
const productTerms = (sum, last) =>
  limbs.filter((i) => i >= sum - last && i <= last).map((i) => `a${i}*b${sum - i}`);

/** The same of a square: each mixed term once, doubled. */
const squareTerms = (sum, last) =>
  limbs
    .filter((i) => i >= sum - last && i <= sum - i)
    .map((i) => `${2 * i === sum ? 'a' : 'd'}${i}*a${sum - i}`);

const [X, Y, Z, V] = [
  ['x', 'p'],
  ['y', 'q'],
  ['z', 'r'],
  ['v', 's'],
];

const PRODUCTS = [
  {
    comment:
      'out = x y; both factors at most a sum or difference of two carried elements. The result is carried.',
    name: 'multiply',
    operands: [X, Y],
    loads: loadX + loadY,
    terms: productTerms,
  },
  {
    comment: 'out = (x - z) y; x and z carried, y at most a sum or difference of two. The result is carried.',
    name: 'multiplyDifference',
    operands: [X, Z, Y],
    loads: loadDifference + loadY,
    terms: productTerms,
  },
  {
    comment:
      'out = (x - z) y - v; x, z and v carried, y at most a sum or difference of two. The result is carried.',
    name: 'multiplyDifferenceMinus',
    operands: [X, Z, Y, V],
    loads: loadDifference + loadY,
    terms: productTerms,
    minus: [V],
  },
  {
    comment: 'out = x^2; x at most a sum or difference of two carried elements. The result is carried.',
    name: 'square',
    operands: [X],
    loads: loadX + doubles,
    terms: squareTerms,
  },
  {
    comment:
      'out = x^2 - z - v; z and v carried, x at most a sum or difference of two. The result is carried.',
    name: 'squareMinusTwo',
    operands: [X, Z, V],
    loads: loadX + doubles,
    terms: squareTerms,
    minus: [Z, V],
  },
];

const sumAndDifference = `/** (x, y) = (x + y, x - y). */
export function sumAndDifference(w: Float64Array, p: number, q: number): void {
${limbs
  .map((i) => {
    const [x, y] = [at('w', 'p', i), at('w', 'q', i)];
    return `  const x${i} = ${x}, y${i} = ${y}; ${x} = x${i} + y${i}; ${y} = x${i} - y${i};\n`;
  })
  .join('')}}
`;

const select = `/** out = x where \`other\` is 0, y where it is 1: by a product, not by a branch. */
export function select(w: Float64Array, o: number, p: number, q: number, other: number): void {
${limbs
  .map((i) => {
    const x = at('w', 'p', i);
    return `  const x${i} = ${x}; ${at('w', 'o', i)} = x${i} + other * (${at('w', 'q', i)} - x${i});\n`;
  })
  .join('')}}
`;

const doublingFactors = `/**
 * From AA and BB, both carried, E = AA - BB and AA + a24 E, a24 = 121665, in place.
 *
 * Before its carry the latter is at most (1.01 + 121665 * 2.02) h(i), below 2^18 h(i). All limbs are carried at once,
 * not in a chain: the carry from below adds at most 2^17 times the weight of a limb, one eighth of h(i), and 19 * 2^17
 * to limb 0, 1.2 h(0). So limb 0 is at most 2.2 h(0) and the others 1.2 h(i); with E at 2.02 h(i) the columns are
 * smaller than those of two factors at 2.02 h(i).
 */
export function doublingFactors(w: Float64Array, p: number, q: number): void {
${CONSTANTS}${limbs
  .map((i) => {
    const [a, b] = [at('w', 'p', i), at('w', 'q', i)];
    return `  const x${i} = ${a}, e${i} = x${i} - ${b}, c${i} = x${i} + 121665 * e${i};
  const ${rounded(`carry${i + 1}`, i)};
  ${b} = e${i};${i === 0 ? '' : ` ${a} = c${i} - carry${i + 1} + carry${i};`}
`;
  })
  .join('')}  w[p] = c0 - carry1 + FOLD * carry12;
}
`;

const even = limbs.filter((i) => i % 2 === 0);
const unpack = `/** The twelve limbs of six pairs, times \`sign\`: the odd limb is the pair rounded to its weight. */
export function unpack(out: Float64Array, o: number, pairs: Float64Array, p: number, sign: number): void {
${declare(
  even.map((i) => round(EXPONENTS[i + 1])),
  3,
)}${even
  .map((i) => {
    const bound = `ROUND_${EXPONENTS[i + 1]}`;
    return `  const pair${i} = sign * ${at('pairs', 'p', i / 2)}, limb${i + 1} = (pair${i} + ${bound}) - ${bound};\n`;
  })
  .join('')}${even
  .map((i) => `  ${at('out', 'o', i)} = pair${i} - limb${i + 1}; ${at('out', 'o', i + 1)} = limb${i + 1};\n`)
  .join('')}}
`;

process.stdout.write(`// Generated by scripts/generate-field-mul.mjs. Do not edit.

/**
 * The unrolled kernels of the field, where nine tenths of the time go. Loops took twice as long.
 *
 * Column k of a product is c(k) = sum of a(i) b(j) over i + j = k, plus FOLD times the same over i + j = k + 12. With
 * both factors at 2.02 h(i), column k is below 2^51.1 times its weight 2^e(k) (column 10 is the largest) and the sum
 * inside FOLD * (...) below 2^46.9. With the incoming carry every partial sum is an integer times the weight below
 * 2^53, so it is exact, and below 2^(51 + e(k+1)), so the carry rounds correctly. Subtracting carried elements before
 * the carry is almost free: each adds less than 2^22 to a column.
 *
 * The carries run once from column 0 to 11, in the order in which the columns are computed. This is one chain, but the
 * processor computes the next columns meanwhile and few values are live at once (several shorter chains took 25 to 40 %
 * longer). Afterwards limb i is within h(i) for i from 2 to 11. The top carry is below 2^30.2 times 2^255 and returns
 * times 19 to limb 0, whose second carry leaves limb 0 within h(0) and adds at most 2^13 times its weight to limb 1:
 * within 1.01 h(1). The result is CARRIED (see field.ts).
 */

${[...PRODUCTS.map(product), sumAndDifference, select, doublingFactors, unpack].join('\n')}`);

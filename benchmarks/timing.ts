/**
 * Do secrets show in the time? A statistical test of the kernels of X25519 and AES: the same operation with one fixed
 * key and with random ones, interleaved at random, compared by Welch's t-test (the method known as dudect).
 *
 * The keys of both classes lie ready in memory before a measurement and are copied into the same buffer, so that
 * the classes differ in nothing but the values. Measurements above a percentile are cropped, because interrupts and
 * garbage collection would hide everything else; several crops are tried and the largest |t| is printed.
 *
 * Reading it: |t| below 4.5 shows no difference; above 10 there is one. JavaScript promises no constant time and a
 * busy machine gives false alarms, so repeat a high value before believing it. `control` shows that the test can
 * see a difference at all: its scalars differ in the number of one bits, and it branches on them.
 *
 * npx esbuild benchmarks/timing.ts --bundle --platform=node --format=esm --outfile=timing.mjs
 * node timing.mjs [measurements, default 20000]      (Node 22 or later, for SIMD)
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { randomBytes } from 'node:crypto';
import { AesCbc } from '../src/backends/simd/aes-cbc.js';
import { Agreements } from '../src/backends/simd/agreements.js';
import { DERIVED } from '../src/backends/simd/derived-keys.js';
import { Kernel as SimdKernel } from '../src/backends/simd/kernel.js';
import { ladderMany } from '../src/curve25519/montgomery-ladder.js';
import { buildTable, recipientPoint } from '../src/curve25519/fixed-base-table.js';
import { tableProducts } from '../src/curve25519/fixed-base.js';

interface Kernel {
  readonly name: string;
  readonly run: (keys: Uint8Array) => unknown;
  /** Keys of 32 bytes a measurement. */
  readonly count: number;
}

const nine = new Uint8Array(32);
nine[0] = 9;
const recipient = Uint8Array.from(
  ed25519.utils.toMontgomery(ed25519.Point.BASE.multiply(123456789n).toBytes()),
);

async function kernels(): Promise<Kernel[]> {
  const point = recipientPoint(recipient);
  const base = recipientPoint(nine);
  if (!point || !base) throw new Error('expected points of the curve');
  const tables = [buildTable(nine, base, 5), buildTable(recipient, point, 5)];
  const kernel = await SimdKernel.make();
  const simd = new Agreements(kernel);
  const aes = new AesCbc(kernel);
  const texts = [new Uint8Array(704), new Uint8Array(704)];
  return [
    { name: 'control: branches on every bit', run: branching, count: 4 },
    { name: 'ladder, one key', run: (keys) => ladderMany(keys, recipient), count: 1 },
    { name: 'ladder, 8 keys', run: (keys) => ladderMany(keys, recipient), count: 8 },
    { name: 'table, one key', run: (keys) => tableProducts(tables, keys), count: 1 },
    { name: 'table, 40 keys', run: (keys) => tableProducts(tables, keys), count: 40 },
    { name: 'SIMD ladder, 2 keys', run: (keys) => simd.ladderMany(keys, recipient), count: 2 },
    { name: 'SIMD ladder, 8 keys', run: (keys) => simd.ladderMany(keys, recipient), count: 8 },
    { name: 'SIMD table, 2 keys', run: (keys) => simd.tableProducts(tables, keys), count: 2 },
    { name: 'SIMD table, 40 keys', run: (keys) => simd.tableProducts(tables, keys), count: 40 },
    { name: 'SIMD AES, encryption', run: (keys) => aes.encryptMany(keys, texts), count: (2 * DERIVED) / 32 },
    { name: 'SIMD AES, decryption', run: (keys) => aes.decryptMany(keys, texts), count: (2 * DERIVED) / 32 },
  ];
}

/** What none of the kernels may do. */
function branching(keys: Uint8Array): number {
  let sum = 1;
  for (const byte of keys) {
    for (let i = 0; i < 8; i++) if ((byte >> i) & 1) sum = Math.sqrt(sum + byte) + 1;
  }
  return sum;
}

/** Times of the two classes: a fixed key and random ones. */
function measure({ run, count }: Kernel, measurements: number): [number[], number[]] {
  const times: [number[], number[]] = [[], []];
  const fixed = new Uint8Array(32 * count).fill(1);
  const buffer = new Uint8Array(32 * count);
  const pool = 256;
  for (let done = 0; done < measurements; done += pool) {
    const random = Array.from({ length: pool }, () => Uint8Array.from(randomBytes(32 * count)));
    const choices = randomBytes(pool);
    for (let i = 0; i < pool; i++) {
      const isRandom = choices[i] & 1;
      buffer.set(isRandom ? random[i] : fixed);
      const start = process.hrtime.bigint();
      run(buffer);
      times[isRandom].push(Number(process.hrtime.bigint() - start));
    }
  }
  return times;
}

/** Welch's t of two samples. */
function welch(a: readonly number[], b: readonly number[]): number {
  const mean = (sample: readonly number[]): number => sample.reduce((sum, x) => sum + x, 0) / sample.length;
  const variance = (sample: readonly number[], m: number): number =>
    sample.reduce((sum, x) => sum + (x - m) ** 2, 0) / (sample.length - 1);
  const [meanA, meanB] = [mean(a), mean(b)];
  return (meanA - meanB) / Math.sqrt(variance(a, meanA) / a.length + variance(b, meanB) / b.length);
}

async function main(): Promise<void> {
  const measurements = Number(process.argv[2] ?? 20000);
  for (const kernel of await kernels()) {
    measure(kernel, Math.min(measurements, 2000));
    const [fixed, random] = measure(kernel, measurements);
    const sorted = [...fixed, ...random].sort((x, y) => x - y);
    const scores = [0.5, 0.75, 0.9, 0.95].map((share) => {
      const limit = sorted[Math.floor(share * sorted.length)];
      const below = (time: number): boolean => time < limit;
      return welch(fixed.filter(below), random.filter(below));
    });
    const worst = scores.reduce((most, t) => (Math.abs(t) > Math.abs(most) ? t : most));
    const verdict =
      Math.abs(worst) < 4.5 ? 'no difference seen' : Math.abs(worst) < 10 ? 'repeat' : 'DIFFERENT';
    console.log(
      `${kernel.name.padEnd(34)} t = ${worst.toFixed(2).padStart(8)}  (crops ${scores.map((t) => t.toFixed(1)).join(', ')})  ${verdict}`,
    );
  }
}

await main();

// One ladder of SIMD against one agreement of OpenSSL with ready keys, in turn. Prints JSON.
//
// node ladder.mjs MILLISECONDS
import { diffieHellman, generateKeyPairSync, randomBytes } from 'node:crypto';
import { simdBackend } from '../dist/backends/simd/index.js';

const COUNT = 128;
const end = performance.now() + Number(process.argv[2]);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const [{ privateKey }, { publicKey }] = [generateKeyPairSync('x25519'), generateKeyPairSync('x25519')];
const backend = simdBackend();
const [scalar, points] = [new Uint8Array(randomBytes(32)), new Uint8Array(randomBytes(32 * COUNT))];
const RUNS = {
  openssl: () => {
    for (let i = 0; i < COUNT; i++) diffieHellman({ privateKey, publicKey });
  },
  simd: () => backend.agreeMany(scalar, points),
};
const times = { openssl: [], simd: [] };
for (let round = 0; round < 20 || performance.now() < end; round++) {
  for (const [name, run] of Object.entries(RUNS)) {
    const start = performance.now();
    await run();
    // The first rounds are for the compiler.
    if (round >= 10) times[name].push((1000 * (performance.now() - start)) / COUNT);
  }
}
const found = Object.entries(times).map(([name, own]) => [
  name,
  { microseconds: median(own), ratio: median(times.openssl.map((time, round) => time / own[round])) },
]);
console.log(JSON.stringify(Object.fromEntries(found)));

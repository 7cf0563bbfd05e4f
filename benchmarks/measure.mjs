// Measures contenders beside libolm, in a process of its own: rounds of the one and the other in turn, on the same
// sessions, so that whatever slows the machine down for a while slows down all. Prints JSON.
//
// node measure.mjs '{"names":["pure"],"sizes":[100],"budget":2000}'
//   budget   milliseconds for the rounds of one size in one direction; at least one round is run
//   sameKey  encrypt everything to one public key; otherwise every run has a new one
import { randomBytes } from 'node:crypto';
import { x25519 } from '@noble/curves/ed25519.js';
import { CONTENDERS } from './contenders.mjs';
import { makeSessions } from './sessions.mjs';

const { names, sizes, budget, sameKey = false } = JSON.parse(process.argv[2]);

/** Shorter samples than this are made of several runs. */
const SAMPLE_MILLISECONDS = 25;
const WARM_MILLISECONDS = 300;
const MAX_ROUNDS = 15;

const all = ['libolm', ...names];
const contenders = await Promise.all(all.map((name) => CONTENDERS[name].make()));
const pool = makeSessions(Math.min(Math.max(...sizes), 20_000));
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function newKey() {
  const privateKey = new Uint8Array(randomBytes(32));
  return { privateKey, publicKey: x25519.getPublicKey(privateKey) };
}

/** Milliseconds of one run, the mean of as many as make a sample. */
async function sample(run, inputs) {
  const start = performance.now();
  for (const input of inputs) await run(...input);
  return (performance.now() - start) / inputs.length;
}

/** How many runs make a sample. By the time that is known, the compiler has settled. */
async function warm(run, inputsFor) {
  let time = 0;
  for (let spent = 0, runs = 0; spent < WARM_MILLISECONDS && runs < 300; runs++) {
    time = await sample(run, inputsFor(1));
    spent += time;
  }
  return Math.max(1, Math.min(200, Math.round(SAMPLE_MILLISECONDS / time)));
}

async function rounds(runs, inputsFor) {
  const counts = [];
  for (const run of runs) counts.push(await warm(run, inputsFor));
  const times = runs.map(() => []);
  const end = performance.now() + budget;
  do {
    for (const [i, run] of runs.entries()) times[i].push(await sample(run, inputsFor(counts[i])));
  } while (times[0].length < MAX_ROUNDS && performance.now() < end);
  return times;
}

const results = [];
for (const size of sizes) {
  const sessions = Array.from({ length: size }, (_, i) => pool[i % pool.length]);
  const kept = newKey();
  const inputs = {
    encrypt: (count) =>
      Array.from({ length: count }, () => [sessions, (sameKey ? kept : newKey()).publicKey]),
    decrypt: (count) => Array(count).fill([records, kept.privateKey]),
  };
  const records = await contenders[0].encrypt(sessions, kept.publicKey);
  for (const direction of ['encrypt', 'decrypt']) {
    const taking = all.filter((_, i) => direction in contenders[i]);
    const runs = taking.map((name) => contenders[all.indexOf(name)][direction]);
    for (const [i, run] of runs.entries()) {
      const came = await run(...inputs[direction](1)[0]);
      if (came.length !== size || came.some(({ ok }) => ok === false)) throw new Error(`${taking[i]} failed`);
    }
    const times = await rounds(runs, inputs[direction]);
    for (const [i, name] of taking.entries()) {
      results.push({
        name,
        size,
        direction,
        rounds: times[i].length,
        microseconds: (1000 * median(times[i])) / size,
        ratio: median(times[i].map((time, round) => times[0][round] / time)),
      });
    }
  }
}
for (const { dispose } of contenders) dispose?.();
console.log(JSON.stringify({ node: process.version, results }));
process.exit(0);

// Measures one contender beside libolm, in a process of its own: rounds of the one and the other in turn, on the same
// sessions, so that whatever slows the machine down for a while slows down both. Prints JSON.
//
// node measure.mjs '{"name":"pure","sizes":[100],"budget":2000,"sameKey":false}'
import { randomBytes } from 'node:crypto';
import { x25519 } from '@noble/curves/ed25519.js';
import { CONTENDERS } from './contenders.mjs';
import { makeSessions } from './sessions.mjs';

const { name, sizes, budget, sameKey = false } = JSON.parse(process.argv[2]);

/** Shorter samples than this are made of several runs. */
const SAMPLE = 25;
const MIN_ROUNDS = 2;
const MAX_ROUNDS = 15;

const libolm = await CONTENDERS.libolm.make();
const contender = await CONTENDERS[name].make();
const pool = makeSessions(Math.min(Math.max(...sizes), 20_000));

function newKey() {
  const privateKey = new Uint8Array(randomBytes(32));
  return { privateKey, publicKey: x25519.getPublicKey(privateKey) };
}

/** Milliseconds of one run, as the mean over as many runs as make a sample. */
async function sample(run, inputs) {
  const start = performance.now();
  for (const input of inputs) await run(...input);
  return (performance.now() - start) / inputs.length;
}

async function rounds(runs, inputsFor) {
  const times = runs.map(() => []);
  // Warm, and long enough for the compiler to have settled.
  const counts = [];
  for (const [i, run] of runs.entries()) {
    let spent = 0;
    let done = 0;
    while (spent < 300 && done < 300) {
      const inputs = inputsFor(1);
      const time = await sample(run, inputs);
      spent += time;
      done++;
      counts[i] = Math.max(1, Math.min(200, Math.round(SAMPLE / time)));
    }
  }
  const end = performance.now() + budget;
  for (let round = 0; round < MAX_ROUNDS && (round < MIN_ROUNDS || performance.now() < end); round++) {
    for (const [i, run] of runs.entries()) times[i].push(await sample(run, inputsFor(counts[i])));
  }
  return times;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const results = [];
for (const size of sizes) {
  const sessions = Array.from({ length: size }, (_, i) => pool[i % pool.length]);
  const kept = newKey();
  const key = () => (sameKey ? kept : newKey());
  for (const direction of ['encrypt', 'decrypt']) {
    if (!contender[direction]) continue;
    const runs = [libolm, contender].map((one) => (input, bytes) => one[direction](input, bytes));
    let inputsFor;
    if (direction === 'encrypt') {
      inputsFor = (count) => Array.from({ length: count }, () => [sessions, key().publicKey]);
    } else {
      const records = await libolm.encrypt(sessions, kept.publicKey);
      const came = await contender.decrypt(records, kept.privateKey);
      if (came.length !== size || came.some(({ ok }) => ok === false)) throw new Error(`${name} does not decrypt`);
      inputsFor = (count) => Array.from({ length: count }, () => [records, kept.privateKey]);
    }
    const [theirs, own] = await rounds(runs, inputsFor);
    results.push({
      size,
      direction,
      rounds: own.length,
      libolm: (1000 * median(theirs)) / size,
      microseconds: (1000 * median(own)) / size,
      ratio: median(own.map((time, i) => theirs[i] / time)),
    });
  }
}
contender.dispose?.();
console.log(JSON.stringify({ name, sameKey, node: process.version, results }));
process.exit(0);

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { inputsOf } from '../../fuzz/corpus.js';
import { Seen, type Target } from '../../fuzz/target.js';
import { targets } from '../../fuzz/targets/index.js';
import { runs } from '../support/runs.js';
import { inputs } from './inputs.js';

async function fuzz(target: Target, numRuns: number): Promise<Seen> {
  const seen = new Seen();
  const property = fc.asyncProperty(inputs(target), async (input) => target.run(input.slice(), seen));
  await fc.assert(property, { numRuns });
  return seen;
}

it.each(targets)('$name holds for its corpus, for inputs like it and for others', async (target) => {
  const corpus = new Seen();
  for (const input of inputsOf(target)) await target.run(input, corpus);
  const mutated = await fuzz(target, runs(5000));
  // A target that accepts everything, or nothing, proves nothing. Changed inputs with a checksum are rarely accepted.
  const outcomes = new Set([...corpus.counts.keys(), ...mutated.counts.keys()]);
  expect(outcomes.size).toBeGreaterThan(1);
  expect(outcomes).toContain('accepted');
});

it('finds an input that breaks a target, and shortens it', async () => {
  const broken: Target = {
    name: 'broken',
    words: ['!'],
    seeds: () => ['some harmless text'],
    run(input) {
      if (input.includes(0x21)) throw new RangeError('an exclamation mark');
    },
  };
  await expect(fuzz(broken, 1000)).rejects.toThrow(/Counterexample: \[Uint8Array\.from\(\[33[,\]]/);
});

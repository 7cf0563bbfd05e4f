import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
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

describe.each(targets)('$name', (target) => {
  it('reads its corpus', async () => {
    for (const input of inputsOf(target)) await target.run(input, new Seen());
  });

  it('reads inputs like those of its corpus, and others', async () => {
    const seen = await fuzz(target, runs(5000));
    // Mutations of a checksummed input are rarely accepted; the corpus is.
    for (const input of inputsOf(target)) await target.run(input, seen);
    const { counts } = seen;
    // A target that accepts everything, or nothing, proves nothing.
    expect(counts.size).toBeGreaterThan(1);
    expect(counts.get('accepted')).toBeGreaterThan(0);
  });
});

it('finds an input that breaks a target, and shortens it', async () => {
  const broken: Target = {
    name: 'broken',
    reads: 'text without an exclamation mark',
    words: ['!'],
    seeds: () => ['some harmless text'],
    run(input) {
      if (input.includes(0x21)) throw new RangeError('an exclamation mark');
    },
  };
  await expect(fuzz(broken, 1000)).rejects.toThrow(/Counterexample: \[Uint8Array\.from\(\[33[,\]]/);
});

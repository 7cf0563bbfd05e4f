import { describe, expect, it } from 'vitest';
import { readCorpus } from '../../fuzz/corpus.js';
import { fuzz } from '../../fuzz/loop.js';
import { Seen } from '../../fuzz/target.js';
import { targets } from '../../fuzz/targets/index.js';

describe.each(targets)('$name', (target) => {
  it('reads its corpus', async () => {
    const corpus = readCorpus(target.name);
    expect(corpus.length).toBeGreaterThan(0);
    for (const input of corpus) await target.run(input, new Seen());
  });

  it('reads mutated inputs', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const run = await fuzz(target, { seconds: 1.5, seed, corpus: readCorpus(target.name) });
    const findings = run.findings.map(
      ({ input, message }) => `${message}: ${Buffer.from(input).toString('base64')}`,
    );
    expect(findings, `seed ${seed}`).toEqual([]);
    expect(run.executions).toBeGreaterThan(run.findings.length);
    // A target that refuses everything, or nothing, looks at nothing.
    expect(Object.keys(run.outcomes).length).toBeGreaterThan(1);
    expect(run.outcomes.accepted).toBeGreaterThan(0);
  });
});

it('finds what is wrong, and shortens it', async () => {
  const broken = {
    name: 'broken',
    reads: 'text without an exclamation mark',
    words: ['!'],
    seeds: () => ['some harmless text'],
    run(input: Uint8Array, seen: Seen) {
      seen.count('accepted');
      if (input.includes(0x21)) throw new RangeError('an exclamation mark');
    },
  };
  const { findings } = await fuzz(broken, { seconds: 2, seed: 1, corpus: [] });
  expect(findings.map(({ input, message }) => [[...input], message])).toEqual([
    [[0x21], 'RangeError: an exclamation mark'],
  ]);
});

it('the corpora are small', () => {
  const bytes = targets.flatMap(({ name }) => readCorpus(name)).reduce((sum, { length }) => sum + length, 0);
  expect(bytes).toBeLessThan(200_000);
});

import { describe, expect, test } from 'vitest';
import { ROOT, run } from '../package/project.js';

/** The runtime suite on the Node at hand, and everywhere else by its command. */

interface Result {
  readonly means: readonly string[];
  readonly vectors: number;
  readonly checks: readonly { readonly area: string; readonly name: string; readonly fault: string | null }[];
}

async function suite(...args: string[]): Promise<Result> {
  return JSON.parse(await run(process.execPath, args, `${ROOT}test/runtimes`)) as Result;
}

const faultsOf = ({ checks }: Result) => checks.filter(({ fault }) => fault !== null);

describe('the runtime suite', () => {
  test('holds on this Node', async () => {
    const result = await suite('on-node.mjs');
    expect(faultsOf(result)).toEqual([]);
    expect(result.means).toEqual(['pure JavaScript', 'node:crypto', 'WebCrypto', 'workers']);
    expect(result.vectors).toBeGreaterThan(1700);
    expect(result.checks.length - result.vectors).toBeGreaterThan(20);
  });

  test('holds where almost everything is missing', async () => {
    const result = await suite('--conditions=react-native', 'stripped.mjs');
    expect(faultsOf(result)).toEqual([]);
    expect(result.means).toEqual(['pure JavaScript']);
    expect(result.vectors).toBeGreaterThan(1700);
  });

  test('holds on every runtime of the README, whose table says what came out', async () => {
    const told = await run(process.execPath, [`${ROOT}scripts/runtimes.mjs`, '--check']);
    expect(told.match(/^ok {4}/gm)).toHaveLength(9);
    expect(told).not.toContain('FAILED');
  }, 900_000);
});

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

/** The tests of this folder on Node 24, from which on SIMD is chosen: its compiler is another than that of Node 20. */

const { NODE_24 } = process.env;
const isThere = NODE_24 !== undefined && existsSync(NODE_24);
const isNeeded = Number(process.versions.node.split('.')[0]) < 24;

if (isNeeded && !isThere) console.log('SIMD was not tested on Node 24: NODE_24 does not name its program');

test.runIf(isNeeded && isThere)('the tests of SIMD pass on Node 24', async () => {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const files = [
    'field.test',
    'agreements.test',
    'agreements.slow.test',
    'derived-keys.test',
    'aes-cbc.test',
    'index.test',
    'peers.test',
  ];
  const { stdout } = await promisify(execFile)(
    NODE_24 ?? '',
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      '--maxWorkers=1',
      '--reporter=default',
      ...files.map((name) => `test/backends/simd/${name}.ts`),
    ],
    { cwd: root, env: { ...process.env, TIER: 'slow', NO_COLOR: '1' }, maxBuffer: 1 << 28 },
  );
  const [, passed] = /Tests +(\d+) passed \(/.exec(stdout) ?? [];
  expect(Number(passed), stdout).toBeGreaterThan(80);
});

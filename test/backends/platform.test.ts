import { expect, test } from 'vitest';
import type { Platform } from '../../src/backends/platform.js';
import * as node from '../../src/backends/platform-node.js';
import * as pure from '../../src/backends/platform-pure.js';
import * as web from '../../src/backends/platform-web.js';

const PLATFORMS: readonly (readonly [string, Platform])[] = [
  ['node', node],
  ['pure', pure],
  ['web', web],
];

test.each(PLATFORMS)('#platform for %s has what every platform has, and no more', async (_, platform) => {
  expect(Object.keys(platform).sort()).toEqual(['localBackend', 'processors', 'startWorker']);
  expect((await platform.localBackend()).name).not.toBe('');
  expect(platform.processors()).toBeGreaterThanOrEqual(0);
});

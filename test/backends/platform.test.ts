import { afterEach, expect, test, vi } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
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

afterEach(() => {
  vi.unstubAllGlobals();
});

test.each([
  ['20.19.0', 'node:crypto', false, false],
  ['22.0.0', 'SIMD or node:crypto', true, false],
  ['24.0.0', 'SIMD or node:crypto', true, true],
  ['30.1.2', 'SIMD or node:crypto', true, true],
])('Node %s does by SIMD what that is faster at', async (version, name, encrypts, decrypts) => {
  vi.stubGlobal('process', { ...process, versions: { ...process.versions, node: version } });
  const backend = await node.localBackend();
  expect(backend.name).toBe(name);
  expect(backend.encryptMany !== undefined).toBe(encrypts);
  expect(backend.decryptMany !== undefined).toBe(decrypts);
  expect(backend.agreeMany === nodeBackend().agreeMany).toBe(!decrypts);
});

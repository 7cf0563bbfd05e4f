import { setFlagsFromString } from 'node:v8';
import { __TESTS } from '@scure/base';
import { vi } from 'vitest';
import * as errors from '../../src/errors.js';

/**
 * Loads modules afresh as on a platform without TextEncoder and TextDecoder. `@scure/base` looks for them once, when it
 * is loaded, so its own coder is put in place of its choice.
 */
export async function withoutTextCoders<T>(load: () => Promise<T>): Promise<T> {
  vi.resetModules();
  vi.doMock('@scure/base', async (original) => ({
    ...(await original<typeof import('@scure/base')>()),
    utf8: __TESTS.utf8Fallback,
  }));
  // The same class of errors as in the test.
  vi.doMock('../../src/errors.js', () => errors);
  try {
    return await load();
  } finally {
    vi.doUnmock('@scure/base');
    vi.doUnmock('../../src/errors.js');
    vi.resetModules();
  }
}

/** Node 20 has relaxed SIMD behind a flag. Its results are the same; only its speed is not. */
export function enableRelaxedSimd(): void {
  if (process.versions.node.startsWith('20.')) setFlagsFromString('--experimental-wasm-relaxed-simd');
}

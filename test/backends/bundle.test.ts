import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { bundleText } from './bundles.js';

describe('the engine, bundled for browsers', () => {
  test('stays under 40 KB and holds nothing of the other storeys', async () => {
    const text = await bundleText('engine/index.ts', true);
    expect(gzipSync(text).length).toBeLessThan(40_000);
    for (const word of [
      'fetch(',
      'node:',
      'sqlite',
      'XMLHttpRequest',
      'WebSocket',
      'import(',
      'eval(',
      'new Function',
    ])
      expect(text).not.toContain(word);
  });
});

describe('the main entry, bundled for browsers', () => {
  test('never sees Node, and brings the worker along', async () => {
    const text = await bundleText('index.ts', true);
    expect(text).not.toContain('node:');
    expect(text).toContain('./worker-web.js');
    expect(gzipSync(text).length).toBeLessThan(45_000);
  });
});

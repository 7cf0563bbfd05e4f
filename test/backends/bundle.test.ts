import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { bundleText } from './bundles.js';

const size = (text: string) => gzipSync(text).length;

describe('the engine, bundled for browsers, minified and compressed', () => {
  test('holds nothing of the other storeys', async () => {
    const text = await bundleText('engine/index.ts', true);
    for (const word of ['fetch(', 'node:', 'sqlite', 'XMLHttpRequest', 'WebSocket', 'eval(', 'new Function'])
      expect(text).not.toContain(word);
    expect(size(text)).toBeLessThan(40_000);
  });
});

describe('the main entry, bundled for browsers', () => {
  test('never sees Node, and names the worker so that bundlers bring it along', async () => {
    const text = await bundleText('index.ts', true);
    expect(text).not.toContain('node:');
    expect(text).toContain('new Worker(new URL("./worker-web.js",import.meta.url)');
    expect(size(text)).toBeLessThan(55_000);
  });
});

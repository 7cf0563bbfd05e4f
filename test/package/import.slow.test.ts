import { describe, expect, test } from 'vitest';
import { SUBPATHS, run } from './project.js';

/**
 * Nothing happens when a part is imported: that is what `sideEffects: false` promises to bundlers, and what they take
 * its word for.
 */
describe.each(SUBPATHS)('importing %s', (subpath) => {
  test('leaves the world as it was', async () => {
    const script = `
      // Node's own modules are lazy about some globals; what they are has to be known before.
      const namesOf = (object) => Reflect.ownKeys(object).map(String).sort().join();
      const worlds = [globalThis, Object, Array, Uint8Array, String, Promise, Object.prototype, Array.prototype,
        Uint8Array.prototype, String.prototype, Function.prototype, Promise.prototype, Math, JSON, Reflect];
      const before = worlds.map(namesOf);
      const listeners = process.eventNames().length;
      await import(${JSON.stringify(subpath)});
      // Node's own reading of the files comes to its end.
      for (let i = 0; i < 3; i++) await new Promise(setImmediate);
      const changed = worlds.filter((object, i) => namesOf(object) !== before[i]).length;
      const left = process.getActiveResourcesInfo().filter((kind) => kind !== 'PipeWrap');
      console.log(JSON.stringify({ changed, left, listeners: process.eventNames().length - listeners }));
    `;
    // What is built in cannot be changed here, so an attempt would throw.
    const args = ['--frozen-intrinsics', '--no-warnings', '--input-type=module', '-e', script];
    expect(JSON.parse(await run(process.execPath, args))).toEqual({ changed: 0, left: [], listeners: 0 });
  });
});

test('the parts for React Native are imported where almost everything is missing', async () => {
  const missing = [
    'TextDecoder',
    'TextEncoder',
    'Buffer',
    'structuredClone',
    'Intl',
    'WebAssembly',
    'URL',
    'performance',
  ];
  const subpaths = SUBPATHS.filter((subpath) => !/node|server/.test(subpath));
  const script = `
    for (const name of ${JSON.stringify(missing)}) delete globalThis[name];
    Object.defineProperty(globalThis, 'crypto', { value: undefined });
    for (const subpath of ${JSON.stringify(subpaths)}) await import(subpath);`;
  const args = ['--conditions=react-native', '--input-type=module', '-e', script];
  expect(await run(process.execPath, args)).toBe('');
});

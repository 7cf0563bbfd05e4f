/**
 * Runs the suite where much is missing that other platforms have, as on React Native's Hermes, and prints what came of
 * it as a line of JSON. To be run with `--conditions=react-native`.
 */
import { data } from './world.mjs';

/** What is taken away before the package is imported. */
const MISSING = [
  ...['TextDecoder', 'TextEncoder', 'Buffer', 'structuredClone', 'Intl', 'WebAssembly', 'atob', 'btoa'],
  ...['performance', 'setImmediate', 'clearImmediate', 'process', 'global', 'SharedArrayBuffer', 'Atomics'],
  ...[
    'ReadableStream',
    'Response',
    'Request',
    'Headers',
    'fetch',
    'URL',
    'URLSearchParams',
    'MessageChannel',
  ],
  ...[
    'BroadcastChannel',
    'Blob',
    'File',
    'CompressionStream',
    'DecompressionStream',
    'WebSocket',
    'navigator',
  ],
];

/** Younger than what Hermes knows of the language. */
const MISSING_METHODS = [
  [Array.prototype, ['toSorted', 'toReversed', 'toSpliced', 'with']],
  [Object, ['groupBy']],
  [Promise, ['withResolvers', 'try']],
  [String.prototype, ['isWellFormed', 'toWellFormed']],
  [Uint8Array, ['fromBase64', 'fromHex']],
  [Uint8Array.prototype, ['toBase64', 'toHex', 'toSorted', 'toReversed', 'with']],
];

const root = new URL('.', import.meta.resolve('megolm-backup/package.json'));
const world = await data(root);
const faultFile = new URL('vectors/run/fault.mjs', root).href;
const { stdout } = process;
const randomness = crypto;

for (const name of MISSING) delete globalThis[name];
for (const [owner, names] of MISSING_METHODS) for (const name of names) delete owner[name];
Object.defineProperty(globalThis, 'crypto', {
  value: { getRandomValues: (bytes) => randomness.getRandomValues(bytes) },
});
const left = MISSING.filter((name) => name in globalThis);
if (left.length > 0 || crypto.subtle) throw new Error(`still there: ${left.join()}`);

const { faultOf } = await import(faultFile);
const { runSuite } = await import('./suite.mjs');
stdout.write(`${JSON.stringify(await runSuite({ ...world, faultOf }))}\n`);

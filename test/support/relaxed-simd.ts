import { setFlagsFromString } from 'node:v8';

/** Node 20 has relaxed SIMD behind a flag. Its results are the same; only its speed is not. */
export function enableRelaxedSimd(): void {
  if (process.versions.node.startsWith('20.')) setFlagsFromString('--experimental-wasm-relaxed-simd');
}

import { vi } from 'vitest';
import { SecretBytes } from '../../src/encoding/bytes.js';

/** Does work and gives the memory of every key that was used in it. */
export async function secretsSeenIn(work: () => unknown): Promise<Uint8Array[]> {
  const used = vi.spyOn(SecretBytes.prototype, 'value', 'get');
  try {
    await work();
    return [...new Set(used.mock.results.map(({ value }) => value as Uint8Array))].filter(
      (value) => value instanceof Uint8Array,
    );
  } finally {
    used.mockRestore();
  }
}

/** Whether every byte of all of them was overwritten. */
export function areWiped(secrets: readonly Uint8Array[]): boolean {
  return secrets.every((bytes) => bytes.every((byte) => byte === 0));
}

/** Does work and gives what every array of 32 bytes held that was overwritten with zeros, as base64. */
export async function overwrittenIn(work: () => unknown): Promise<string[]> {
  const overwritten: string[] = [];
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its array below
  const { fill } = Uint8Array.prototype;
  const spy = vi.spyOn(Uint8Array.prototype, 'fill').mockImplementation(function (
    this: Uint8Array,
    ...given
  ) {
    if (this.length === 32 && given[0] === 0) overwritten.push(Buffer.from(this).toString('base64'));
    return fill.apply(this, given);
  });
  try {
    await work();
    return overwritten;
  } finally {
    spy.mockRestore();
  }
}

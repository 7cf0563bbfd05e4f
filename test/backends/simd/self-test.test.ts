import { expect, test } from 'vitest';
import { EXPECTED, checksum } from '../../../src/backends/simd/self-test.js';
import { tableProducts } from '../../../src/curve25519/fixed-base.js';
import { ladderMany } from '../../../src/curve25519/montgomery-ladder.js';
import { open, seal } from '../../../src/scheme/session-data.js';

const keyAt = (keys: Uint8Array, slot: number) => keys.subarray(32 * slot, 32 * slot + 32);

test('SIMD is tested against what pure JavaScript gives', () => {
  const pure = checksum({
    agreements: { ladderMany, tableProducts },
    sealing: {
      sealMany: (secrets, texts) => texts.map((text, slot) => seal(keyAt(secrets, slot), text)),
      openMany: (secrets, sealed) =>
        sealed.map(({ ciphertext, mac }, slot) => open(keyAt(secrets, slot), ciphertext, mac)),
    },
  });
  expect(pure).toBe(EXPECTED);
});

import { x25519 } from '@noble/curves/ed25519.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { test } from 'vitest';
import { agreeMany, encapsulateMany } from '../../src/engine/x25519.js';
import { expectAgreed, expectEncapsulated, randomKeys } from '../contracts/x25519.js';

const implementation = { agreeMany, encapsulateMany };
const MINUTES = 60_000;

test(
  '20,000 random pairs against noble, with random points, most of which have a torsion part or are on the twist',
  async () => {
    for (let i = 0; i < 10; i++) {
      await expectEncapsulated(implementation, x25519.getPublicKey(randomBytes(32)), randomKeys(500));
      await expectEncapsulated(implementation, randomBytes(32), randomKeys(500));
      await expectAgreed(implementation, randomBytes(32), randomKeys(1000));
    }
  },
  10 * MINUTES,
);

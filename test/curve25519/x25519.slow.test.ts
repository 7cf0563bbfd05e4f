import { x25519 } from '@noble/curves/ed25519.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { expect, test } from 'vitest';
import { ladderMany } from '../../src/curve25519/montgomery-ladder.js';
import { agreeMany, encapsulateMany, hasTable } from '../../src/curve25519/x25519.js';
import {
  bytesOf,
  expectAgreed,
  expectEncapsulated,
  randomKeys,
  x25519Contract,
} from '../contracts/x25519.js';

const implementation = { agreeMany, encapsulateMany };
const MINUTES = 60_000;

// The quick tier tests them through encapsulateMany, which chooses between them.
x25519Contract('ladder alone', {
  agreeMany: ladderMany,
  encapsulateMany: (recipient, privateKeys) => ({
    ephemeralPublicKeys: ladderMany(privateKeys, bytesOf(9n)),
    sharedSecrets: ladderMany(privateKeys, recipient),
  }),
});

x25519Contract('table alone', {
  agreeMany,
  encapsulateMany: (recipient, privateKeys) => {
    if (!hasTable(recipient)) encapsulateMany(recipient, randomBytes(32 * 24));
    expect(hasTable(recipient)).toBe(true);
    return encapsulateMany(recipient, privateKeys);
  },
});

test(
  'agrees with noble on 20,000 random pairs, most points with a torsion part or on the twist',
  async () => {
    for (let i = 0; i < 10; i++) {
      await expectEncapsulated(implementation, x25519.getPublicKey(randomBytes(32)), randomKeys(500));
      await expectEncapsulated(implementation, randomBytes(32), randomKeys(500));
      await expectAgreed(implementation, randomBytes(32), randomKeys(1000));
    }
  },
  10 * MINUTES,
);

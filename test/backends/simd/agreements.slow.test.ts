import { randomBytes } from 'node:crypto';
import { x25519 } from '@noble/curves/ed25519.js';
import { expect, test } from 'vitest';
import { Agreements } from '../../../src/backends/simd/agreements.js';
import { Kernel } from '../../../src/backends/simd/kernel.js';
import { ladderMany } from '../../../src/curve25519/montgomery-ladder.js';
import { BASE_POINT, baseTable, tableOf } from '../../../src/curve25519/x25519.js';
import { expectAgreed, expectEncapsulated, randomKeys, x25519Contract } from '../../contracts/x25519.js';
import { enableRelaxedSimd } from '../../support/platforms.js';

enableRelaxedSimd();

/** The nightly run asks for 100,000. */
const AGREEMENTS = Number(process.env.AGREEMENTS ?? 2000);
const MINUTES = 60_000;

const simd = new Agreements(await Kernel.make());
const agreeMany = simd.ladderMany.bind(simd);

const byLadders = {
  agreeMany,
  encapsulateMany: (recipient: Uint8Array, privateKeys: Uint8Array) => ({
    ephemeralPublicKeys: simd.ladderMany(privateKeys, BASE_POINT),
    sharedSecrets: simd.ladderMany(privateKeys, recipient),
  }),
};

const byTables = {
  agreeMany,
  encapsulateMany: (recipient: Uint8Array, privateKeys: Uint8Array) => {
    const table = tableOf(recipient);
    if (!table) return byLadders.encapsulateMany(recipient, privateKeys);
    const [ephemeralPublicKeys, sharedSecrets] = simd.tableProducts([baseTable(), table], privateKeys);
    return { ephemeralPublicKeys, sharedSecrets };
  },
};

x25519Contract('SIMD, ladders alone', byLadders);
x25519Contract('SIMD, tables where there can be one', byTables);

test(
  `${AGREEMENTS} random agreements are those of the ladder in JavaScript and of noble`,
  async () => {
    for (let done = 0; done < AGREEMENTS; done += 400) {
      const keys = randomKeys(100);
      await expectEncapsulated(byTables, x25519.getPublicKey(randomBytes(32)), keys);
      await expectEncapsulated(byLadders, new Uint8Array(randomBytes(32)), keys);
      await expectAgreed(byLadders, new Uint8Array(randomBytes(32)), randomKeys(199));
      const [scalars, points] = [randomBytes(32), randomBytes(32)].map((bytes) => new Uint8Array(bytes));
      expect(simd.ladderMany(scalars, points)).toEqual(ladderMany(scalars, points));
    }
  },
  60 * MINUTES,
);

import { expect, test } from 'vitest';
import type { Backend, Pipeline } from '../../src/batch/backend.js';
import { decryption, encryption } from '../../src/batch/directions.js';
import { BackupDecryptionKey } from '../../src/index.js';

const key = BackupDecryptionKey.generate();
const pipeline: Pipeline = { chunk: 7, depth: 3 };
const never = () => Promise.reject(new Error('not to be called'));

test('the pipeline of a backend counts where it does the work of that direction', () => {
  const backends: Backend[] = [
    { name: 'idle', pipeline },
    { name: 'seals', pipeline, encryptMany: never },
    { name: 'encapsulates', pipeline, encapsulateMany: never },
    { name: 'opens', pipeline, decryptMany: never },
    { name: 'agrees', pipeline, agreeMany: never },
  ];
  const reading = decryption(key, {});
  const writing = encryption(key.publicKey, {});
  const names = (direction: Pick<typeof reading, 'pipeline'>) =>
    backends.filter((backend) => direction.pipeline(backend) === pipeline).map(({ name }) => name);
  expect(names(writing)).toEqual(['seals', 'encapsulates']);
  expect(names(reading)).toEqual(['opens', 'agrees']);
  reading.dispose();
});

import { expect, it } from 'vitest';
import { adviceFor } from '../../page/src/advice.js';
import type { SecretStorageState } from '../../src/secret-storage/key-description.js';

const advice = (code: string, storage?: SecretStorageState) => {
  const { what, next } = adviceFor({
    ...{ kind: 'refused', code, message: '', correctable: undefined },
    ...(storage !== undefined && { storage }),
  });
  return `${what} ${next}`;
};

it.each<[SecretStorageState, RegExp]>([
  ['unknown', /Choose the account data as well/],
  ['none', /This account has no secret storage/],
  ['no-backup-key', /The secret storage of this account holds no key of a backup/],
  ['backup-key', /Look for another recovery key or phrase/],
])('a key that fits nothing gets the true reason where the secret storage is: %s', (storage, reason) => {
  for (const code of ['wrong-key', 'wrong-passphrase', 'missing-field', 'mac-mismatch']) {
    const text = advice(code, storage);
    expect(text).toMatch(/^This key or phrase does not open the backup\./);
    expect(text).toMatch(reason);
    expect(text).not.toContain('not what this page needs');
    expect(text).toContain('Your backup is untouched');
  }
  expect(advice('bad-recovery-key', storage)).toContain('not a complete recovery key');
});

it('a backup of another kind is no fault of the page', () => {
  expect(advice('unsupported-algorithm')).toMatch(/cannot read.*Your backup is untouched/);
});

it('says of a missing file which files are needed, and of a key what to compare', () => {
  expect(advice('missing-file')).toMatch(/^A file is missing.*keys\.json and version\.json/);
  expect(advice('bad-recovery-key')).toContain('capital and small letters');
});

it('no advice destroys', () => {
  const codes = [
    'wrong-key',
    'unsupported-algorithm',
    'no-backup',
    'bad-auth-data',
    'missing-field',
    'missing-file',
    'other',
  ];
  for (const code of codes) expect(advice(code)).not.toMatch(/reset|delete|make a new|new backup/i);
});

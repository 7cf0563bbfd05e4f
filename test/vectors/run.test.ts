import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Runs vector files on the build, as `npm run vectors` does after building. */
function runVectors(...files: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [`${root}vectors/run/main.mjs`, ...files], (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

test('every vector passes', async () => {
  const { code, stdout } = await runVectors();
  expect(stdout).toMatch(/^\d{4} passed, 0 failed\n$/);
  expect(code).toBe(0);
});

test('a line names each case that fails, and the last one counts them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'megolm-backup-vectors-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const vectors = JSON.parse(await readFile(`${root}vectors/recovery-key.json`, 'utf8')) as {
    cases: Record<string, unknown>[];
  };
  const valid = vectors.cases.find(({ operation, result }) => operation === 'decode' && result === 'valid')!;
  const invalid = vectors.cases.find(({ result }) => result === 'invalid')!;
  vectors.cases = [
    valid,
    { ...valid, id: 'wrong key', private_key: 'AAAA' },
    { ...valid, id: 'accepted', result: 'invalid', code: 'bad-recovery-key' },
    { ...invalid, id: 'refused', result: 'valid' },
    { ...invalid, id: 'wrong code', code: 'bad-json' },
    { ...valid, id: 'unknown', operation: 'nope' },
  ];
  const file = join(folder, 'own.json');
  await writeFile(file, JSON.stringify(vectors));

  const { code, stdout } = await runVectors(file);
  const lines = stdout.trimEnd().split('\n');
  expect(lines).toEqual([
    `${file}: wrong key: private_key: not as expected`,
    `${file}: accepted: expected bad-recovery-key, but it was accepted`,
    expect.stringContaining(`${file}: refused: expected to be accepted, but got `),
    expect.stringContaining(`${file}: wrong code: expected bad-json`),
    `${file}: unknown: unknown kind of case: recovery-key nope`,
    '1 passed, 5 failed',
  ]);
  expect(code).toBe(1);
});

test('rejects a file of another format', async () => {
  const { code, stderr } = await runVectors(`${root}vectors/schema.json`);
  expect(code).toBe(1);
  expect(stderr).toContain('expected a vector file of format megolm-backup-vectors/1');
});

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const DIRECTORY = fileURLToPath(new URL('../../vectors/', import.meta.url));
const GENERATOR = join(DIRECTORY, 'generate', 'main.mjs');

it('the generator makes exactly the files that are here', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vectors-'));
  try {
    await promisify(execFile)(process.execPath, [GENERATOR, '--out', directory]);
    const made = (await readdir(directory)).sort();
    const here = (await readdir(DIRECTORY)).filter(
      (name) => name.endsWith('.json') && name !== 'schema.json',
    );
    expect(made).toEqual(here.sort());
    for (const name of made) {
      const [now, committed] = await Promise.all(
        [directory, DIRECTORY].map((folder) => readFile(join(folder, name), 'utf8')),
      );
      // Not toEqual: the difference of two large texts takes minutes to show.
      expect(now === committed, `${name} is what the generator makes`).toBe(true);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});

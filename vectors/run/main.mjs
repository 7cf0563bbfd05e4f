// Runs test vector files on the build of this package: `npm run vectors [-- FILE ...]`, by default all in `vectors`.
// Prints a line for each case that fails, then how many passed and failed. Exits with 1 when a case failed.
import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { faultOf } from './fault.mjs';

const FORMAT = 'megolm-backup-vectors/1';

/** A sample export and a schema are in the same folder. */
async function allVectors() {
  const folder = fileURLToPath(new URL('..', import.meta.url));
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  const files = await Promise.all(names.map((name) => read(`${folder}${name}`)));
  return files.filter(({ file }) => file.format === FORMAT);
}

async function read(path) {
  return { path, file: JSON.parse(await readFile(path, 'utf8')) };
}

const paths = process.argv.slice(2);
let passed = 0;
let failed = 0;
for (const { path, file } of paths.length > 0 ? await Promise.all(paths.map(read)) : await allVectors()) {
  if (file.format !== FORMAT) throw new Error(`${path}: expected a vector file of format ${FORMAT}`);
  for (const fields of file.cases) {
    const fault = await faultOf(file.kind, fields);
    if (fault === undefined) {
      passed++;
    } else {
      failed++;
      console.log(`${path}: ${fields.id}: ${fault}`);
    }
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

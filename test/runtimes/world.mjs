/** What the suite needs of a runtime that has files. */
import { readFile, readdir } from 'node:fs/promises';

/** The vectors and sessions, and what runs the vectors. */
export async function worldOfFiles() {
  const root = new URL('.', import.meta.resolve('megolm-backup/package.json'));
  const { faultOf } = await import(new URL('vectors/run/fault.mjs', root).href);
  return { ...(await data(root)), faultOf };
}

/** The part of it that is JSON. */
export async function data(root) {
  const folder = new URL('vectors/', root);
  const read = async (name) => JSON.parse(await readFile(new URL(name, folder), 'utf8'));
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  const files = await Promise.all(names.map(async (name) => ({ name, file: await read(name) })));
  return {
    vectors: files
      .filter(({ file }) => file.format === 'megolm-backup-vectors/1')
      .map(({ name, file: { kind, cases } }) => ({ name, kind, cases })),
    sessions: files.find(({ name }) => name === 'sample-export.json').file,
  };
}

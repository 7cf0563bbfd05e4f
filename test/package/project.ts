import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The package as strangers get it. */

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const execute = promisify(execFile);

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string>>;
  readonly imports: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as Manifest;

/** What can be imported: `megolm-backup`, `megolm-backup/engine` and so on. */
export const SUBPATHS = Object.keys(manifest.exports)
  .filter((path) => path !== './package.json')
  .map((path) => `megolm-backup${path.slice(1)}`);

const NAMES = 'BackupDecryptionKey, decryptSessions, encryptSessions';
const IMPORTS = `
import { ${NAMES} } from 'megolm-backup';
import { base64Encode } from 'megolm-backup/engine';`;
/** The same in CommonJS. */
export const REQUIRES = `
const { ${NAMES} } = require('megolm-backup');
const { base64Encode } = require('megolm-backup/engine');`;

/** A round trip in the words of a user: `sessions`, `all` to take every result, and `roundTrip`. */
export const roundTrip = (imports = IMPORTS) => `
${imports}
const sessions = Array.from({ length: 40 }, (_, i) => {
  const bytes = new Uint8Array(165).map((_, at) => (at * 7 + i) & 255);
  bytes.set([1, 0, 0, 0, 0]);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id: '!a:x',
    sender_claimed_keys: { ed25519: '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo' },
    sender_key: 'A'.repeat(43),
    session_id: base64Encode(bytes.subarray(133)),
    session_key: base64Encode(bytes),
  };
});
async function all(results) {
  const taken = [];
  for await (const result of results) taken.push(result);
  return taken;
}
async function roundTrip() {
  const key = BackupDecryptionKey.generate();
  // Enough for workers to be used.
  const options = { total: 20_000 };
  const records = await all(encryptSessions(sessions, key.publicKey, options));
  const results = await all(decryptSessions(records, key, options));
  return results.filter((result, i) => result.ok && result.session.session_key === sessions[i].session_key).length;
}
`;

/** Runs a program and gives what it wrote on standard output. What it says when it fails is in the error. */
export async function run(program: string, args: readonly string[], cwd = ROOT): Promise<string> {
  try {
    const { stdout } = await execute(program, args, { cwd, maxBuffer: 1 << 26 });
    return stdout;
  } catch (error) {
    const { message, stdout = '' } = error as Error & { stdout?: string };
    throw new Error(`${message}\n${stdout}`, { cause: error });
  }
}

/** Where a tarball would be, and the files in it. */
interface PackResult {
  readonly filename: string;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

/** Packs the build. Without a destination it only says what would be in the package. */
export async function pack(destination?: string): Promise<PackResult> {
  const where = destination === undefined ? ['--dry-run'] : ['--pack-destination', destination];
  // What is built is tested; the scripts would build it again, under the feet of other tests.
  const [result] = JSON.parse(
    await run('npm', ['pack', '--ignore-scripts', '--json', ...where]),
  ) as PackResult[];
  return result;
}

/** A project in a temporary folder that has the package and nothing else. */
export class Project {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Packs the build and installs it. */
  static async create(): Promise<Project> {
    const folder = await mkdtemp(join(tmpdir(), 'megolm-backup-project-'));
    const { filename } = await pack(folder);
    const project = new Project(folder);
    await project.write('package.json', JSON.stringify({ private: true, name: 'project', type: 'module' }));
    await project.install(join(folder, filename));
    return project;
  }

  /** Installs packages: from the client's cache where they are there. */
  async install(...packages: string[]): Promise<void> {
    const quietly = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'];
    await run('npm', ['install', '--save-exact', ...quietly, ...packages], this.folder);
  }

  async write(name: string, text: string): Promise<string> {
    const file = join(this.folder, name);
    await writeFile(file, text);
    return file;
  }

  /** Writes a file and runs it. */
  async node(name: string, text: string): Promise<string> {
    return run(process.execPath, [await this.write(name, text)], this.folder);
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

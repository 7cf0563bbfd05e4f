import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../support/network.js';
import { fences } from '../support/markdown.js';
import { Project, ROOT, manifest } from './project.js';

/** The programs of docs/running-the-server.md that mount the server in a framework. */

const page = await readFile(join(ROOT, 'docs/running-the-server.md'), 'utf8');
const programs = fences(page)
  .filter(({ language, text }) => language === 'js' && text.includes('import '))
  .map(({ text }) => text);

function programWith(word: string): string {
  const found = programs.filter((text) => text.includes(word));
  expect(found).toHaveLength(1);
  return found[0];
}

let project: Project;
const homeserver = createServer((request, response) => {
  const { authorization } = request.headers;
  response.writeHead(authorization === 'Bearer secret' ? 200 : 401, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ user_id: '@a:x', device_id: 'D', errcode: 'M_UNKNOWN_TOKEN' }));
});

beforeAll(async () => {
  project = await Project.create();
  const { devDependencies } = manifest;
  const peers = ['hono', '@hono/node-server', 'libsql'].map((name) => `${name}@${devDependencies[name]}`);
  await project.install(
    ...peers,
    'express@5.3.0',
    'express4@npm:express@4.22.3',
    'fastify@5.12.8',
    'koa@3.3.0',
  );
  await once(homeserver.listen(0, '127.0.0.1'), 'listening');
  const { port } = homeserver.address() as AddressInfo;
  await project.write('backup.mjs', programWith('export const backup').replace(':8008', `:${port}`));
});

afterAll(async () => {
  homeserver.close();
  await project.remove();
});

/** Runs a program, and asks it. */
async function running(program: string, work: (url: string) => Promise<void>): Promise<void> {
  const port = await freePort();
  const file = await project.write('program.mjs', program.replace('8009', String(port)));
  const child = spawn(process.execPath, [file], { cwd: project.folder, stdio: 'inherit' });
  const ended = once(child, 'exit');
  try {
    const url = `http://127.0.0.1:${port}`;
    while (child.exitCode === null && !(await answers(url))) await wait(50);
    await work(url);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}

function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    () => true,
    () => false,
  );
}

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function ask(url: string, method: string, path: string, body?: object): Promise<Answer> {
  const response = await fetch(`${url}/_matrix/client/v3/room_keys${path}`, {
    method,
    headers: { authorization: 'Bearer secret', 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** A backup goes there and back, by every method, with an id of every awkward character and a large body. */
async function expectWorks(url: string): Promise<void> {
  expect((await fetch(`${url}/_matrix/client/v3/room_keys/version`)).status).toBe(401);
  const created = await ask(url, 'POST', '/version', { algorithm: 'a', auth_data: { b: 1 } });
  expect(created).toMatchObject({ status: 200, body: { version: expect.any(String) as string } });
  const version = created.body.version as string;
  const key = {
    first_message_index: 1,
    forwarded_count: 0,
    is_verified: false,
    session_data: { ciphertext: 'x'.repeat(500) },
  };
  const rooms = { '!a/b c%?#:x': { sessions: { 's+/': key } } };
  const path = `/keys/${encodeURIComponent('!a/b c%?#:x')}/${encodeURIComponent('s+/')}?version=${version}`;
  expect(await ask(url, 'PUT', path, key)).toMatchObject({ status: 200, body: { count: 1 } });
  expect(await ask(url, 'GET', `/keys?version=${version}`)).toEqual({ status: 200, body: { rooms } });
  const sessions = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`s${i}`, key]));
  const many = await ask(url, 'PUT', `/keys?version=${version}`, { rooms: { '!c:x': { sessions } } });
  expect(many).toMatchObject({ status: 200, body: { count: 5001 } });
  expect(await ask(url, 'DELETE', path)).toMatchObject({ status: 200, body: { count: 5000 } });
}

const express = programWith("from 'express'");
const fastify = programWith("from 'fastify'");
const koa = programWith("from 'koa'");

test.each([
  ['node:http', programWith("from 'node:http'")],
  ['Express 5', express],
  [
    'Express 5, under a prefix',
    express.replace('app.all(paths, backup)', "app.use('/_matrix/client', backup)"),
  ],
  ['Express 4', express.replace("from 'express'", "from 'express4'")],
  ['Fastify 5', fastify],
  ['Koa 3', koa],
])('%s serves a backup by the program of the document', async (_name, program) => {
  expect(program).toContain('backup');
  await running(program, expectWorks);
});

describe('behind a body parser', () => {
  test.each([
    ['Express 5', express.replace('app.all(', 'app.use(express.json()).all(')],
    ['Fastify 5', fastify.replace(/ *scope\.(remove|add).*\n/g, '')],
  ])('%s names the fault', async (_name, program) => {
    await running(program, async (url) => {
      const { status, body } = await ask(url, 'POST', '/version', { algorithm: 'a', auth_data: {} });
      expect(status).toBe(500);
      expect(body.error).toMatch(/before any body parser/);
    });
  });
});

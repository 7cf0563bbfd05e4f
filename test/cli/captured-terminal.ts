import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { main } from '../../src/cli/commands.js';
import type { Terminal } from '../../src/cli/terminal.js';
import type { Ended } from './workspace.js';

const { pbkdf2 } = crypto;

/** What `export encrypt` and `rescue` write takes a third of a second to derive a key for, which is most of their tests. */
const EXPORT_ITERATIONS = 500_000;

let last: Promise<unknown> = Promise.resolve();

/**
 * Runs a command line in this process: what starting Node and loading the sources costs many times over in most tests is
 * paid once. Export files are written and read with one round of PBKDF2. One after the other, because a process has one
 * working directory.
 */
export function runHere(folder: string, args: readonly string[], stdin: string): Promise<Ended> {
  const run = last.then(() => runIn(folder, args, stdin));
  last = run.catch(() => undefined);
  return run;
}

async function runIn(folder: string, args: readonly string[], stdin: string): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  const terminal: Terminal = {
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
    progress: () => undefined,
    write: (text) => {
      stdout += text;
      return Promise.resolve();
    },
    askSecret: () => {
      throw new Error('a command that asks has to run in a process of its own');
    },
    isTyped: false,
    isTerminal: false,
    env: process.env,
    stdin: bytesOf(stdin),
    signal: new AbortController().signal,
  };
  const before = process.cwd();
  process.chdir(folder);
  replacePbkdf2((password, salt, iterations, ...rest) => {
    pbkdf2(password, salt, iterations === EXPORT_ITERATIONS ? 1 : iterations, ...rest);
  });
  try {
    return { code: await main(args, terminal), signal: null, stdout, stderr };
  } finally {
    replacePbkdf2(pbkdf2);
    process.chdir(before);
  }
}

function replacePbkdf2(by: typeof pbkdf2): void {
  crypto.pbkdf2 = by;
  syncBuiltinESMExports();
}

// eslint-disable-next-line @typescript-eslint/require-await -- as a stream gives it
async function* bytesOf(text: string): AsyncGenerator<Uint8Array, void, undefined> {
  if (text !== '') yield new TextEncoder().encode(text);
}

import { main } from '../../src/cli/commands.js';
import type { Terminal } from '../../src/cli/terminal.js';
import type { Ended } from './workspace.js';

let last: Promise<unknown> = Promise.resolve();

/**
 * Runs a command line in this process: what starting Node and loading the sources costs many times over in most tests is
 * paid once. One after the other, because a process has one working directory.
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
  try {
    return { code: await main(args, terminal), signal: null, stdout, stderr };
  } finally {
    process.chdir(before);
  }
}

// eslint-disable-next-line @typescript-eslint/require-await -- as a stream gives it
async function* bytesOf(text: string): AsyncGenerator<Uint8Array, void, undefined> {
  if (text !== '') yield new TextEncoder().encode(text);
}

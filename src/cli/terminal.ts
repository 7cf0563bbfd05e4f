import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';

/** The world of a command: what it prints to, reads from, and is stopped by. */
export interface Terminal {
  /** Prints a short result or summary. */
  stdout(text: string): void;
  /** Prints everything that is no result: progress, warnings, errors. */
  stderr(text: string): void;
  /** Writes a piece of a long result to standard output and waits until it is taken. */
  write(text: string): Promise<void>;
  /** Asks for a line without showing what is typed; rejects where nobody can be asked. */
  askSecret(question: string): Promise<string>;
  /** Whether a person sees stderr: only then is progress shown. */
  readonly isTerminal: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Aborts when the person wants to stop. */
  readonly signal: AbortSignal;
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const interrupt = new AbortController();
  process.once('SIGINT', () => {
    interrupt.abort(new Error('interrupted'));
  });
  // A reader that has seen enough (`| head`) is no error of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    interrupt.abort(error);
  });
  return {
    stdout: (text) => {
      process.stdout.write(text);
    },
    stderr: (text) => {
      process.stderr.write(text);
    },
    write: (text) =>
      new Promise((resolve, reject) => {
        process.stdout.write(text, (error) => {
          if (error) reject(error);
          else resolve();
        });
      }),
    askSecret: (question) => askSecret(question, interrupt.signal),
    isTerminal: process.stderr.isTTY,
    env: process.env,
    stdin: process.stdin,
    signal: interrupt.signal,
  };
}

async function askSecret(question: string, signal: AbortSignal): Promise<string> {
  if (!process.stdin.isTTY) throw new Error('there is no terminal to ask on');
  process.stderr.write(question);
  const silence = new Writable({
    write: (_chunk, _encoding, done) => {
      done();
    },
  });
  const lines = createInterface({ input: process.stdin, output: silence, terminal: true });
  try {
    return await new Promise((resolve, reject) => {
      lines.question('', { signal }, resolve);
      lines.once('SIGINT', () => {
        reject(new Error('interrupted'));
      });
      lines.once('close', () => {
        reject(new Error('the input ended'));
      });
    });
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}

import { InputError, Interrupted, UsageError, systemError } from './errors.js';
import { createInterface } from 'node:readline';
import { Writable, addAbortSignal } from 'node:stream';
import { isatty } from 'node:tty';
import { printable } from '../encoding/quote.js';

/** The world of a command: what it prints to, reads from, and is stopped by. */
export interface Terminal {
  /** Prints a short result or summary. */
  stdout(text: string): void;
  /** Prints everything that is no result: progress, warnings, errors. */
  stderr(text: string): void;
  /** Puts a line of numbers in the place of the one before; an empty one takes it away. */
  progress(line: string): void;
  /** Writes a piece of a long result to standard output and waits until it is taken. */
  write(text: string): Promise<void>;
  /**
   * Asks for a line without showing what is typed.
   *
   * @throws {@link UsageError} where nobody can be asked; {@link InputError} when nothing was typed.
   */
  askSecret(question: string): Promise<string>;
  /** Whether standard input is a person typing, who is asked rather than read from. */
  readonly isTyped: boolean;
  /** Whether a person sees stderr: only then is progress shown. */
  readonly isTerminal: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Uint8Array>;
  /**
   * Aborts when the command has to stop: with an {@link Interrupted} when it was told to, with the error when
   * standard output takes no more.
   */
  readonly signal: AbortSignal;
}

/** Text of several lines for a terminal: foreign text in it cannot steer the terminal or write over other text. */
function shown(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const interrupt = new AbortController();
  const interruptBy = (name: NodeJS.Signals) => {
    interrupt.abort(new Interrupted(name));
  };
  // Once: whoever asks a second time does not want to wait for the tidying up. SIGHUP is left to nohup.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, interruptBy);
  const stdoutFailed = (error: NodeJS.ErrnoException) => {
    if (interrupt.signal.aborted) return;
    interrupt.abort(error);
    process.exitCode = 2;
    // A reader that has seen enough (`| head`) needs no message.
    if (error.code !== 'EPIPE') {
      process.stderr.write(`megolm-backup: cannot write to standard output (${systemError(error)})\n`);
    }
  };
  process.stdout.on('error', stdoutFailed);
  // Nobody is left to be told that nobody listens.
  process.stderr.on('error', () => undefined);
  return {
    stdout: (text) => {
      process.stdout.write(shown(text));
    },
    stderr: (text) => {
      process.stderr.write(shown(text));
    },
    progress: (line) => {
      process.stderr.write(`\r\x1b[K${line}`);
    },
    write: (text) =>
      new Promise((resolve, reject) => {
        process.stdout.write(process.stdout.isTTY ? shown(text) : text, (error) => {
          if (!error) {
            resolve();
            return;
          }
          stdoutFailed(error);
          reject(error);
        });
      }),
    askSecret: (question) => askSecret(question, interrupt.signal, interruptBy),
    isTyped: isatty(0),
    isTerminal: process.stderr.isTTY,
    env: process.env,
    get stdin() {
      return addAbortSignal(interrupt.signal, process.stdin);
    },
    signal: interrupt.signal,
  };
}

async function askSecret(
  question: string,
  signal: AbortSignal,
  interruptBy: (name: NodeJS.Signals) => void,
): Promise<string> {
  const what = question.replace(/: $/, '');
  if (!isatty(0)) {
    throw new UsageError(`${what}: give a file ("-" is standard input), there is no terminal to ask on`);
  }
  const silence = new Writable({
    write: (_chunk, _encoding, done) => {
      done();
    },
  });
  const lines = createInterface({ input: process.stdin, output: silence, terminal: true });
  // Only now does the terminal not echo: nobody may have been asked before.
  process.stderr.write(question);
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
      // The terminal gives Ctrl-C as a character here, not as a signal.
      lines.once('SIGINT', () => {
        interruptBy('SIGINT');
      });
      lines.question('', resolve);
      lines.once('close', () => {
        reject(new InputError(`${what}: expected one line, got nothing`));
      });
    });
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}

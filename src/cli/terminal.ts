import { InputError, Interrupted, UsageError, systemError } from './errors.js';
import { createInterface } from 'node:readline';
import { Writable, addAbortSignal } from 'node:stream';
import { isatty } from 'node:tty';
import { printable } from '../encoding/quote.js';

/** What a command prints to, reads from, and is stopped by. */
export interface Terminal {
  /** Prints a short result or summary. */
  readonly stdout: (text: string) => void;
  /** Prints everything else: progress, warnings, errors. */
  readonly stderr: (text: string) => void;
  /** Replaces the line of numbers printed before; an empty one, or a message on stderr, removes it. */
  readonly progress: (line: string) => void;
  /** Writes a piece of a long result to standard output, and waits until it is accepted. */
  readonly write: (text: string) => Promise<void>;
  /** Asks for a line without showing what is typed. */
  readonly askSecret: (question: string) => Promise<string>;
  /** Whether standard input is a terminal: secrets are then asked for, not read. */
  readonly isTyped: boolean;
  /** Whether stderr is a terminal: only then is progress shown. */
  readonly isTerminal: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Uint8Array>;
  /**
   * Aborts when the command has to stop: with an {@link Interrupted} after a signal, with the error when
   * standard output failed.
   */
  readonly signal: AbortSignal;
}

/** Lines of text for a terminal: foreign text in them cannot steer the terminal or overwrite other text. */
function shown(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const interrupt = new AbortController();
  const interruptBy = (name: NodeJS.Signals) => {
    interrupt.abort(new Interrupted(name));
  };
  // Once: a second signal ends the process without cleaning up. SIGHUP is left to nohup.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, interruptBy);
  const stdoutFailed = (error: NodeJS.ErrnoException) => {
    if (interrupt.signal.aborted) return;
    interrupt.abort(error);
    process.exitCode = 2;
    // A reader that stopped reading (`| head`) needs no message.
    if (error.code !== 'EPIPE') {
      process.stderr.write(`megolm-backup: cannot write to standard output (${systemError(error)})\n`);
    }
  };
  process.stdout.on('error', stdoutFailed);
  // A failure of stderr cannot be reported.
  process.stderr.on('error', () => undefined);
  let shownLine = '';
  const progress = (line: string) => {
    if (line !== shownLine) process.stderr.write(`\r\x1b[K${line}`);
    shownLine = line;
  };
  return {
    stdout: (text) => {
      process.stdout.write(shown(text));
    },
    stderr: (text) => {
      progress('');
      process.stderr.write(shown(text));
    },
    progress,
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
  // Ask only now that the terminal does not echo.
  process.stderr.write(question);
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
      // In this mode Ctrl-C arrives as a character, not as a signal.
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

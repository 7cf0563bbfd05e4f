import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { Terminal } from './terminal.js';

/** A command of the command line. */
export interface Command {
  /** What `--help` prints: what it does, its arguments, and an example. */
  readonly usage: string;
  /** Runs it. Returns the exit code: 0 all well, 1 it ran but some keys failed or a check did not hold. */
  readonly run: (args: readonly string[], terminal: Terminal) => Promise<number>;
}

/** What ends a command with exit code 2: unreadable input, output that cannot be written, no way to the server. */
export class InputError extends Error {
  override readonly name: string = 'InputError';
}

/** What ends a command with exit code 2 because it was called wrongly; the help says how to call it. */
export class UsageError extends InputError {
  override readonly name = 'UsageError';
}

type Options = NonNullable<ParseArgsConfig['options']>;

type Parsed<T extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; options: T; strict: true; allowPositionals: true }>
>;

/**
 * Reads the arguments of a command by `node:util` parseArgs.
 *
 * @param positionals - The names of the positional arguments, all required; `undefined` for any number.
 * @throws {@link UsageError} for anything unknown, missing or too much.
 */
export function parseCommand<const T extends Options>(
  args: readonly string[],
  options: T,
  positionals: readonly string[] | undefined,
): Parsed<T> {
  const parsed = attemptParse(args, options);
  if (positionals && parsed.positionals.length !== positionals.length) {
    const missing = positionals.slice(parsed.positionals.length);
    throw new UsageError(
      missing.length > 0
        ? `missing argument: ${missing.join(' ')}`
        : `expected ${positionals.length} argument(s), got ${parsed.positionals.length}`,
    );
  }
  return parsed;
}

function attemptParse<const T extends Options>(args: readonly string[], options: T): Parsed<T> {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: true });
  } catch (cause) {
    // The platform's message names the option; a secret never stands there, because none is an argument.
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

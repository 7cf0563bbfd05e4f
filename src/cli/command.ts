import { existsSync, statSync, type Stats } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { Terminal } from './terminal.js';
import { UsageError } from './errors.js';
import { quote } from '../encoding/quote.js';

/** A command of the command line. */
export interface Command {
  /** What `--help` prints: what it does, its arguments, and an example. */
  readonly usage: string;
  /** Runs it. Returns the exit code: 0 all well, 1 it ran but some keys failed or a check did not hold. */
  readonly run: (args: readonly string[], terminal: Terminal) => Promise<number>;
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
        : `expected ${positionals.join(' ') || 'options alone'}, got ${parsed.positionals.length} argument(s)`,
    );
  }
  expectInputsKept(parsed.values, parsed.positionals);
  return parsed;
}

/** The options that name files to read, apart from those that end in `-file`. */
const INPUTS: readonly string[] = ['auth-data', 'trusted', 'users', 'tokens'];

/**
 * For a command of two forms.
 *
 * @param names - The options of the other form, which must not be there.
 * @throws {@link UsageError} that names the first that is.
 */
export function expectNone(
  values: Readonly<Record<string, unknown>>,
  names: readonly string[],
  form: string,
): void {
  const given = names.find((name) => values[name] !== undefined);
  if (given !== undefined) throw new UsageError(`--${given} is for ${form} only`);
}

/**
 * What is written must not take the place of a key, or of what the command is about besides. `-o` may be the argument
 * itself: it is read to its end before.
 */
function expectInputsKept(values: Readonly<Record<string, unknown>>, positionals: readonly string[]): void {
  const options = Object.entries(values)
    .filter(([name]) => name.endsWith('-file') || INPUTS.includes(name))
    .map(([, value]) => value);
  expectNoneOf(options, '-o', values.output);
  expectNoneOf([...positionals, ...options], '--report', values.report);
}

function expectNoneOf(inputs: readonly unknown[], option: string, output: unknown): void {
  if (typeof output !== 'string') return;
  if (inputs.some((input) => typeof input === 'string' && existsSync(input) && isSameFile(input, output))) {
    throw new UsageError(`${option}: ${output} is a file that is read here; give another name`);
  }
}

/** Whether two options name the same file, through links as well. */
export function isSameFile(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  const [one, other] = [fileAt(a), fileAt(b)];
  if (one && other) return one.isFile() && one.dev === other.dev && one.ino === other.ino;
  return resolve(a) === resolve(b);
}

function fileAt(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/**
 * Reads a whole number out of an option.
 *
 * @throws {@link UsageError} when it is something else.
 */
export function parseCount(option: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (!/^[0-9]{1,15}$/.test(value)) {
    throw new UsageError(`${option}: expected a whole number, got ${quote(value)}`);
  }
  return Number(value);
}

/**
 * Reads a user id out of an option.
 *
 * @throws {@link UsageError} when it has another form.
 */
export function parseUserId(option: string, value: string): string {
  if (!isUserId(value)) {
    throw new UsageError(`${option}: expected a user id, @name:server, got ${quote(value)}`);
  }
  return value;
}

/** Whether a text has the form of a user id. */
export function isUserId(text: string): boolean {
  return /^@[^:]*:./s.test(text);
}

function attemptParse<const T extends Options>(args: readonly string[], options: T): Parsed<T> {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: true });
  } catch (cause) {
    // The platform's message names the option; a secret never stands there, because none is an argument.
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

import { parseArgs } from 'node:util';
import { pastedText } from '../encoding/pasted-text.js';
import { quote } from '../encoding/quote.js';
import { InputError, UsageError } from './errors.js';
import { isFile, isFilled, isSameFile } from './files.js';
import type { Terminal } from './terminal.js';

/** An option. It is written once: parsing, the help and the values that a command gets all come from it. */
export interface Option {
  readonly help: string;
  /** The placeholder of the value in the help; an option without one is a flag. `FILE` is read, `OUTPUT` is written. */
  readonly value?: string;
  readonly short?: string;
  readonly repeatable?: true;
  readonly required?: true;
}

export type Options = Readonly<Record<string, Option>>;

type CamelCase<Name extends string> = Name extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

type Value<O extends Option> = O extends { value: string }
  ? O extends { repeatable: true }
    ? readonly string[]
    : O extends { required: true }
      ? string
      : string | undefined
  : boolean;

/** What a command line gives: `--key-file` as `keyFile`. */
export type Values<O extends Options> = {
  readonly [Name in keyof O & string as CamelCase<Name>]: Value<O[Name]>;
};

/** What a command is made of. */
export interface Definition<O extends Options> {
  readonly name: string;
  /** For the list of commands: a few words, without a full stop. */
  readonly summary: string;
  /** The forms of the command line, where arguments and required options are not enough. */
  readonly usage?: readonly string[];
  readonly description: string;
  /** Names of the positional arguments: in brackets if optional, joined by | if one of a few words. */
  readonly arguments?: readonly string[];
  readonly options: O;
  /** Names of the options that may also come from environment variables. */
  readonly environment?: readonly string[];
  readonly exitCodes: string;
  readonly example: string;
  /** Returns the exit code: 0 all well, 1 it ran but some keys failed or a check did not hold. */
  readonly run: (options: Values<O>, terminal: Terminal, ...args: string[]) => number | Promise<number>;
}

/** A command of the command line. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly arguments: readonly string[];
  readonly options: Options;
  readonly help: string;
  /** @throws {@link UsageError} for anything unknown, missing or too much; {@link InputError} for an output that exists. */
  run(args: readonly string[], terminal: Terminal): Promise<number>;
}

/** Makes a command of its definition. */
export function defineCommand<const O extends Options>(definition: Definition<O>): Command {
  const { name, summary, options, arguments: names = [], environment = [] } = definition;
  return {
    name,
    summary,
    arguments: names,
    options,
    help: helpOf(definition),
    async run(args, terminal) {
      const { values, positionals } = parse(args, options, names, fromEnvironment(terminal.env, environment));
      return definition.run(values as Values<O>, terminal, ...positionals);
    },
  };
}

/** The known word nearest to one that was mistyped, for the end of a message; empty if none is near. */
export function didYouMean(typed: string, known: readonly string[]): string {
  const near = known
    .map((word) => ({ word, distance: word.startsWith(`${typed}-`) ? 1 : editDistance(typed, word) }))
    .filter(({ word, distance }) => distance <= 2 && distance < word.length / 2)
    .sort((a, b) => a.distance - b.distance);
  return near.length === 0 ? '' : ` (did you mean ${near[0].word}?)`;
}

/** A whole number out of an option. */
export function parseCount(option: string, value: string): number;
export function parseCount(option: string, value: string | undefined): number | undefined;
export function parseCount(option: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (!/^[0-9]{1,15}$/.test(value)) {
    throw new UsageError(`${option}: expected a whole number, got ${quote(value)}`);
  }
  return Number(value);
}

/** A user id out of an option. */
export function parseUserId(option: string, value: string): string {
  const userId = pastedText(value);
  if (!isUserId(userId)) {
    throw new UsageError(`${option}: expected a user id, @name:server, got ${quote(value)}`);
  }
  return userId;
}

/** Whether a text has the form of a user id. */
export function isUserId(text: string): boolean {
  return /^@[^:]*:./s.test(text);
}

/** Refuses the options of the other form of a command. */
export function expectNone(given: Readonly<Record<string, unknown>>, form: string): void {
  const found = Object.keys(given).find((name) => given[name] !== undefined && given[name] !== false);
  if (found !== undefined) throw new UsageError(`--${found} is for ${form} only`);
}

const PREFIX = 'MEGOLM_BACKUP_';

/** The environment variable of an option: `MEGOLM_BACKUP_MAX_KEYS` of `max-keys`. */
export function variableOf(option: string): string {
  return PREFIX + option.toUpperCase().replaceAll('-', '_');
}

/**
 * The options that environment variables give. One that looks mistyped is refused; others may belong to something else:
 * Kubernetes sets `MEGOLM_BACKUP_SERVICE_HOST` for a service of this name.
 */
function fromEnvironment(env: Terminal['env'], names: readonly string[]): Map<string, string> {
  const known = names.map(variableOf);
  for (const variable of Object.keys(env)) {
    if (!variable.startsWith(PREFIX) || known.includes(variable)) continue;
    const suffixes = known.map((name) => name.slice(PREFIX.length));
    const near = didYouMean(variable.slice(PREFIX.length), suffixes).replace('mean ', `mean ${PREFIX}`);
    if (near !== '') throw new UsageError(`unknown variable ${quote(variable)}${near}`);
  }
  return new Map(names.map((name) => [name, env[variableOf(name)] ?? '']));
}

function parse(
  args: readonly string[],
  options: Options,
  names: readonly string[],
  environment: ReadonlyMap<string, string>,
) {
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      Object.entries(options).map(([name, { value, short }]) => [
        name,
        { type: value === undefined ? 'boolean' : 'string', ...(short !== undefined && { short }) },
      ]),
    ),
  });
  const given = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value, inlineValue } = token;
    const known = Object.keys(options).map((option) => `--${option}`);
    if (!Object.hasOwn(options, name)) {
      throw new UsageError(`unknown option ${quote(rawName)}${didYouMean(rawName, known)}`);
    }
    const kind = placeholder(options[name]);
    if (kind === undefined && value !== undefined) throw new UsageError(`${rawName} takes no value`);
    if (kind !== undefined && value === undefined)
      throw new UsageError(`${rawName}: expected ${kind}, got nothing`);
    if (inlineValue === false && /^-./.test(value)) {
      throw new UsageError(
        `${rawName}: expected ${kind}, got an option; a value that starts with - is given as ${rawName}=VALUE`,
      );
    }
    given.set(name, [...(given.get(name) ?? []), value ?? '']);
  }
  for (const [name, value] of environment) {
    if (given.has(name) || value === '') continue;
    const isFlag = options[name].value === undefined;
    if (isFlag && !/^(?:true|false)$/.test(value)) {
      throw new UsageError(`${variableOf(name)}: expected true or false, got ${quote(value)}`);
    }
    if (!isFlag || value === 'true') given.set(name, [value]);
  }
  expectArguments(positionals, names);
  expectFilesKept(given, positionals, options);
  const missing = Object.entries(options).filter(([name, { required }]) => required && !given.has(name));
  if (missing.length > 0) {
    throw new UsageError(
      `missing option: ${missing.map(([name, { value }]) => `--${name} ${value}`).join(', ')}`,
    );
  }
  const values: Record<string, unknown> = {};
  for (const [name, { value, repeatable }] of Object.entries(options)) {
    const all = given.get(name);
    const key = name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    if (value === undefined) values[key] = all !== undefined;
    else values[key] = repeatable ? (all ?? []) : all?.at(-1);
  }
  return { values, positionals };
}

function expectArguments(positionals: readonly string[], names: readonly string[]): void {
  const needed = names.filter((name) => !name.startsWith('['));
  if (positionals.length < needed.length) {
    throw new UsageError(`missing argument: ${needed.slice(positionals.length).join(' ')}`);
  }
  if (positionals.length > names.length) {
    const expected = names.join(' ') || 'options alone';
    throw new UsageError(`expected ${expected}, got ${positionals.length} argument(s)`);
  }
}

/**
 * An output must not take the place of an input. Only the argument itself may be written by `-o`: it is read to its end
 * before. Other files are overwritten only with `--force`.
 */
function expectFilesKept(
  given: ReadonlyMap<string, readonly string[]>,
  positionals: readonly string[],
  options: Options,
): void {
  const files = [...given].flatMap(([name, values]) => (options[name].value === 'FILE' ? values : []));
  if ([...files, ...positionals].filter((path) => path === '-').length > 1) {
    throw new UsageError('standard input holds one line or one file: give the other inputs as files');
  }
  for (const [name, values] of given) {
    const output = values[values.length - 1];
    if (options[name].value !== 'OUTPUT' || output === '-') continue;
    const inputs = name === 'output' ? files : [...positionals, ...files];
    if (inputs.some((input) => isFile(input) && isSameFile(input, output))) {
      const option = name === 'output' ? '-o' : `--${name}`;
      throw new UsageError(`${option}: ${output} is a file that is read here; give another name`);
    }
    if (!given.has('force') && isFilled(output)) {
      throw new InputError(`${output} exists; --force overwrites it`);
    }
  }
}

/** What stands for the value in help and messages. */
function placeholder({ value }: { readonly value?: string | undefined }): string | undefined {
  return value === 'OUTPUT' ? 'FILE' : value;
}

/** How many letters have to be changed, added, removed or swapped with the next to make one word of the other. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(change, rows[i - 1][j] + 1, row[j - 1] + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
      }
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}

const WIDTH = 100;
const MAX_TERM = 26;

function helpOf<O extends Options>(definition: Definition<O>): string {
  const { name, usage, description, options, environment = [], exitCodes, example } = definition;
  const terms = Object.entries(options).map(([option, { value, short, help }]) => {
    const names = `${short === undefined ? '' : `-${short}, `}--${option}`;
    return { term: [names, placeholder({ value })].join(' ').trim(), help };
  });
  const required = Object.entries(options).filter(([, option]) => option.required);
  const forms = usage ?? [
    [
      ...(definition.arguments ?? []),
      ...required.map(([option, { value }]) => `--${option} ${value}`),
      ...(terms.length === 0 ? [] : ['[options]']),
    ].join(' '),
  ];
  const column = 4 + Math.max(...terms.map(({ term }) => term.length).filter((length) => length <= MAX_TERM));
  const lines = terms.map(({ term, help }) => {
    const [first, ...more] = wrap(help, WIDTH - column).map((line) => ' '.repeat(column) + line);
    const start = `  ${term}`;
    const head = start.length + 2 > column ? [start, first] : [start.padEnd(column) + first.trimStart()];
    return [...head, ...more].join('\n');
  });
  return [
    `usage: ${forms.map((form) => `megolm-backup ${name} ${form}`).join('\n       ')}`,
    description.trim(),
    ...(lines.length === 0 ? [] : [`options:\n${lines.join('\n')}`]),
    ...(environment.length === 0 ? [] : [wrap(environmentHelp(environment), WIDTH).join('\n')]),
    wrap(exitCodes, WIDTH).join('\n'),
    `example:\n  ${example}\n`,
  ].join('\n\n');
}

function environmentHelp(names: readonly string[]): string {
  const which =
    names.length < 4 ? names.map(variableOf).join(' and ') : `every option, as ${PREFIX} and its name`;
  const flags = names.length < 4 ? '' : `: ${variableOf(names[0])}. A flag is true or false`;
  return `The environment may give ${which}${flags}. The command line takes precedence.`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

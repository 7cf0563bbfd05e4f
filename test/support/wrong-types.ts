import { inspect } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { KeyBackupError } from '../../src/errors.js';

/** Calls everything that entry points export with arguments of wrong types. */

type Maybe<T> = T | Promise<T>;
type Callable = (...args: readonly unknown[]) => unknown;

export interface Surface {
  /** The entry points, as `import * as` gives them. */
  readonly exports: readonly object[];
  /** An instance of every exported class that callers make, and of what functions give. */
  readonly made: Readonly<Record<string, () => Maybe<object>>>;
  /**
   * Valid arguments, optional ones included, by name: `function`, `new Class`, `Class.static`, `made#method`. In
   * place of an argument list the reason why a name is not called.
   */
  readonly valid: Readonly<Record<string, string | (() => Maybe<readonly unknown[]>)>>;
  /** Text that must not be in an error. */
  readonly secrets: readonly string[];
  /** What may be thrown besides a {@link KeyBackupError}. */
  readonly mayThrow?: (name: string, error: unknown) => boolean;
}

/** An argument that is not replaced: without it the call takes seconds, or goes out into the network. */
export class Kept {
  readonly value: unknown;

  constructor(value: unknown) {
    this.value = value;
  }
}

/** What a hostile getter throws, which may pass through. */
class Hostile extends Error {}

const hostile = (): never => {
  throw new Hostile();
};

const WRONG: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  zero: () => 0,
  NaN: () => NaN,
  'an empty string': () => '',
  'a string': () => 'x',
  true: () => true,
  'an object': () => ({}),
  'an array': () => [],
  'an array of undefined': () => [undefined],
  'an array of null': () => [null],
  'a symbol': () => Symbol('x'),
  'a function': () => () => undefined,
  'a bigint': () => 1n,
  'a frozen object': () => Object.freeze({ __proto__: null }),
  'three bytes': () => new Uint8Array(3),
  'a DataView': () => new DataView(new ArrayBuffer(32)),
  'hostile getters': () =>
    new Proxy({}, { get: hostile, has: hostile, ownKeys: hostile, getOwnPropertyDescriptor: hostile }),
};

/** Defines the tests. */
export function testWrongTypes({ exports, made, valid, secrets, mayThrow }: Surface): void {
  const exported = new Map(exports.flatMap((one) => Object.entries(one)));
  const calls = Object.entries(valid).flatMap(([name, args]) =>
    typeof args === 'string' ? [] : [{ name, args }],
  );

  it('knows valid arguments for everything that is exported', async () => {
    const names: string[] = [];
    for (const [name, value] of exported) {
      if (typeof value !== 'function') continue;
      if (!isClass(value)) names.push(name);
      else names.push(`new ${name}`, ...methods(value).map((method) => `${name}.${method}`));
    }
    for (const [name, make] of Object.entries(made)) {
      names.push(...methodsOf(await make()).map((method) => `${name}#${method}`));
    }
    const classes = [...exported].filter(([, value]) => isClass(value)).map(([name]) => name);
    expect(classes.filter((name) => !(name in made))).toEqual([]);
    expect(Object.keys(valid).sort()).toEqual(names.sort());
  });

  describe.each(calls)('$name', ({ name, args }) => {
    it('takes valid arguments, and of wrong ones throws only errors of ours', async () => {
      const print = ['log', 'info', 'warn', 'error', 'debug'] as const;
      const printed = print.map((method) => vi.spyOn(console, method).mockReturnValue());
      const call = async (given: readonly unknown[]) =>
        settle((await resolve(name))(...given.map((one) => (one instanceof Kept ? one.value : one))));
      await call(await args());
      const faults = new Map<string, string[]>();
      const fault = (message: string, what: string) => {
        faults.set(message, [...(faults.get(message) ?? []), what]);
      };
      for (const [i, argument] of (await args()).entries()) {
        if (argument instanceof Kept) continue;
        for (const [what, make] of Object.entries(WRONG)) {
          const given = [...(await args())];
          given[i] = make();
          try {
            await call(given);
          } catch (error) {
            const ours = error instanceof KeyBackupError || error instanceof Hostile;
            if (!ours && mayThrow?.(name, error) !== true) fault(`argument ${i}: ${String(error)}`, what);
            const shown = inspect(error, { depth: 9 });
            if (secrets.some((secret) => shown.includes(secret))) fault(`argument ${i}: a secret`, what);
          }
        }
      }
      expect(printed.flatMap(({ mock }) => mock.calls)).toEqual([]);
      vi.restoreAllMocks();
      expect(Object.fromEntries(faults)).toEqual({});
    });
  });

  async function resolve(name: string): Promise<Callable> {
    const [, owner, kind, method] = /^(?:new )?(\w+)([.#]?)(.*)$/.exec(name) ?? [];
    const value = exported.get(owner) as Record<string, Callable> &
      (new (...args: readonly unknown[]) => unknown);
    if (name.startsWith('new ')) return (...args) => new value(...args);
    const object = kind === '#' ? ((await made[owner]()) as Record<string, Callable>) : value;
    return kind === '' ? (value as unknown as Callable) : (...args) => object[method](...args);
  }
}

function isClass(value: unknown): value is new () => unknown {
  return typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));
}

/** The names of the functions that an object has itself. */
function methods(object: object): string[] {
  return Object.entries(Object.getOwnPropertyDescriptors(object))
    .filter(([name, { value }]) => typeof value === 'function' && name !== 'constructor')
    .map(([name]) => name);
}

function methodsOf(object: object): string[] {
  const names = new Set<string>();
  for (
    let at = object;
    at !== Object.prototype && at !== Error.prototype;
    at = Object.getPrototypeOf(at) as object
  ) {
    for (const name of methods(at)) names.add(name);
  }
  return [...names];
}

/** Waits for what a call gave, and takes everything out of what is iterated. */
async function settle(given: unknown): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('it hangs'));
    }, 5000);
  });
  try {
    await Promise.race([drained(given), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function drained(given: unknown): Promise<void> {
  const value: unknown = await given;
  if (typeof value !== 'object' || value === null || !(Symbol.asyncIterator in value)) return;
  for await (const _ of value as AsyncIterable<unknown>);
}

import { deepStrictEqual } from 'node:assert';
import { KeyBackupError } from '../src/errors.js';

/** One parser under test, and what has to hold of it for every input. */
export interface Target {
  readonly name: string;
  /** Words of the format, which no chance would find. */
  readonly words: readonly string[];
  /** Inputs to begin with, besides the corpus. */
  readonly seeds: () => readonly (string | Uint8Array)[];
  /** Most bytes of an input; default 4096. */
  readonly maxLength?: number;
  /** Where JSON begins in an input, for those that read JSON. */
  readonly jsonAt?: number;
  /** Reads an input and checks what came of it. Whatever it throws is a finding. */
  readonly run: (input: Uint8Array, seen: Seen) => void | Promise<void>;
}

/** What became of the inputs, counted by `accepted` or the code of the refusal. */
export class Seen {
  readonly counts = new Map<string, number>();

  count(outcome: string): void {
    this.counts.set(outcome, (this.counts.get(outcome) ?? 0) + 1);
  }

  /**
   * The result of a call, or `undefined` when it refuses with one of the codes. Any other code, and any other
   * error, is thrown on.
   */
  allow<T>(codes: readonly string[], call: () => T): { readonly value: T } | undefined {
    try {
      const value = call();
      this.count('accepted');
      return { value };
    } catch (error) {
      this.refused(codes, error);
      return undefined;
    }
  }

  /** {@link Seen.allow} of a promise. */
  async allowAsync<T>(
    codes: readonly string[],
    call: () => Promise<T>,
  ): Promise<{ readonly value: T } | undefined> {
    try {
      const value = await call();
      this.count('accepted');
      return { value };
    } catch (error) {
      this.refused(codes, error);
      return undefined;
    }
  }

  /** Counts a refusal with one of the codes, and throws everything else. */
  refused(codes: readonly string[], error: unknown): void {
    if (!(error instanceof KeyBackupError) || !codes.includes(error.code)) throw error;
    this.count(error.code);
  }
}

/** Fails when a property does not hold. */
export function claim(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`property: ${what}`);
}

/** Fails when two values differ, without showing them whole. */
export function claimEqual(actual: unknown, expected: unknown, what: string): void {
  try {
    deepStrictEqual(actual, expected);
  } catch {
    throw new Error(`property: ${what}: ${show(actual)} is not ${show(expected)}`);
  }
}

function show(value: unknown): string {
  const text = value instanceof Uint8Array ? `bytes ${value.join()}` : JSON.stringify([value]);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** Words of a format, separated by white space. */
export function words(text: TemplateStringsArray): string[] {
  return text.raw[0].trim().split(/\s+/);
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** An input as text; invalid UTF-8 becomes U+FFFD. */
export function textOf(input: Uint8Array): string {
  return decoder.decode(input);
}

/** An input as JSON, or `undefined` if it is not JSON. */
export function jsonOf(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}

/** Cuts bytes into chunks whose sizes a number decides, each in memory that is spoilt once the next is asked for. */
export function* inChunks(bytes: Uint8Array, seed: number): Generator<Uint8Array, void, void> {
  let state = seed;
  for (let start = 0; start < bytes.length;) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const size = seed === 0 ? bytes.length : 1 + ((state >> 16) % (seed % 2 === 0 ? 9 : 60));
    const chunk = bytes.slice(start, start + size);
    yield chunk;
    chunk.fill(0x22);
    start += size;
  }
}

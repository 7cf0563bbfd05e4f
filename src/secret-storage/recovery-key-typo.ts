import { type AbortSignalLike, ChunkSizer } from '../async.js';
import { wipe } from '../encoding/bytes.js';
import { keySymbols } from '../scheme/pasted-key.js';
import { decodeRecoveryKey, encodeRecoveryKey } from '../scheme/recovery-key.js';

/**
 * Corrects a mistyped recovery key. One byte of parity misses 0.4 % of all mistakes, so every candidate that passes it is
 * compared with something that only the right key fits.
 */

/** The mistake in what was typed. */
export type Mistake = 'substitution' | 'swap' | 'omission' | 'insertion';

/** A key one mistake away from what was typed. */
export interface MeantKey<Match> {
  /** The text form of the key, which is a secret. */
  readonly text: string;
  readonly mistake: Mistake;
  /** What the key fits. */
  readonly match: Match;
}

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const SYMBOLS = 48;
/** Up to this many characters outside the alphabet (0, O, I, l) are replaced by all others: 58 or 58² candidates. */
const MAX_FOREIGN = 2;

/** Whether a text has the length and characters of a recovery key, give or take a mistake. */
export function looksLikeKey(text: string): boolean {
  const symbols = keySymbols(text);
  return Math.abs(symbols.length - SYMBOLS) <= 1 && foreignIn(symbols).length <= MAX_FOREIGN;
}

/** Whether a text is a recovery key with groups missing or too many: no phrase has its beginning or its groups of four. */
export function looksLikePartOfKey(text: string): boolean {
  const symbols = keySymbols(text);
  const isPart = symbols.startsWith('Es') || /^(?:\w{4}\s+){4,}\w{1,4}$/.test(text.trim());
  return (
    isPart &&
    symbols.length >= 20 &&
    foreignIn(symbols).length === 0 &&
    /\d/.test(symbols) &&
    /[a-z][A-Z]/.test(symbols)
  );
}

/**
 * Tries every single substitution, swap of neighbours, omission and insertion. Gives the only key that fits, whose
 * bytes `fits` must not keep; `undefined` if none or several do.
 */
export async function findMeantKey<Match>(
  text: string,
  fits: (key: Uint8Array) => Match | undefined,
  signal?: AbortSignalLike,
): Promise<MeantKey<Match> | undefined> {
  const pace = new ChunkSizer(signal);
  const found = new Map<string, MeantKey<Match>>();
  for (const [candidate, mistake] of candidates(keySymbols(text))) {
    const key = decodeOr(candidate);
    if (key) {
      try {
        const match = fits(key);
        if (match !== undefined) {
          const meant = encodeRecoveryKey(key);
          if (!found.has(meant)) found.set(meant, { text: meant, mistake, match });
        }
      } finally {
        wipe(key);
      }
    }
    if (pace.shouldYield) await pace.yieldNow();
  }
  const [only] = found.values();
  return found.size === 1 ? only : undefined;
}

/** The positions of characters outside the alphabet. */
function foreignIn(symbols: string): number[] {
  return Array.from(symbols.matchAll(/[^1-9A-HJ-NP-Za-km-z]/g), ({ index }) => index);
}

function decodeOr(symbols: string): Uint8Array | undefined {
  try {
    return decodeRecoveryKey(symbols);
  } catch {
    return undefined;
  }
}

function* candidates(typed: string): Generator<[string, Mistake], void, void> {
  const foreign = foreignIn(typed);
  if (typed.length === SYMBOLS) {
    yield* substitutions(typed, foreign);
    if (foreign.length === 0) yield* swaps(typed);
  } else if (typed.length === SYMBOLS - 1 && foreign.length === 0) {
    for (let i = 0; i <= typed.length; i++) {
      for (const symbol of ALPHABET) yield [typed.slice(0, i) + symbol + typed.slice(i), 'omission'];
    }
  } else if (typed.length === SYMBOLS + 1) {
    for (let i = 0; i < typed.length; i++) yield [typed.slice(0, i) + typed.slice(i + 1), 'insertion'];
  }
}

/** At the characters outside the alphabet if there are any, else everywhere. */
function* substitutions(typed: string, foreign: readonly number[]): Generator<[string, Mistake], void, void> {
  if (foreign.length > MAX_FOREIGN) return;
  const [first, second] = foreign;
  const places = foreign.length === 0 ? Array.from(typed).keys() : [first];
  for (const i of places) {
    for (const symbol of ALPHABET) {
      const candidate = typed.slice(0, i) + symbol + typed.slice(i + 1);
      if (foreign.length < 2) yield [candidate, 'substitution'];
      else yield* substitutions(candidate, [second]);
    }
  }
}

function* swaps(typed: string): Generator<[string, Mistake], void, void> {
  for (let i = 0; i + 1 < typed.length; i++) {
    yield [typed.slice(0, i) + typed[i + 1] + typed[i] + typed.slice(i + 2), 'swap'];
  }
}

import { decodeRecoveryKey } from './recovery-key.js';
import { wipe } from '../encoding/bytes.js';

/** Keys as they are pasted and typed out of mails, prints, chats and password managers. */

/** A key that was found in a text. */
export interface PastedKey {
  /** The text form without spaces, or 43 characters of standard base64. */
  readonly text: string;
  readonly form: 'recovery-key' | 'base64';
  /** What had to be done to read it; `undefined` for spaces, line breaks, quotes, dashes and the like. */
  readonly change: keyof typeof PASTED_CHANGES | undefined;
}

/** What had to be done to read a key, in words. */
export const PASTED_CHANGES = {
  lookalikes: 'with Latin letters for others that look like them',
  surroundings: 'out of the text around it',
} as const;

/** A longer text is no note of a key. */
const MAX_CHARACTERS = 4096;

/** White space, soft hyphens, zero-width characters, marks of direction: as a class of a regular expression. */
const INVISIBLE =
  '\\s\\u0085\\u00ad\\u034f\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufe0f\\ufeff';

/** Dashes, quotes, bullets, brackets and other signs. */
const SIGNS =
  '!-\\/:-@\\[-`{-~\\u00a1-\\u00a9\\u00ab-\\u00b9\\u00bb-\\u00bf\\u2010-\\u2027\\u2030-\\u205e\\u2190-\\u2bff\\u3000-\\u303f';

/** Marks of quoted lines, and numbers of lines. */
const LINE_MARK = /^[ \t]*(?:>[> \t]*|\d{1,2}[.)][ \t]+)/gm;

/** Letters of scripts that have no spaces between words. */
const SPACELESS = /[\u3040-\u9fff]+/g;

/** Cyrillic and Greek letters, and below each the letter of base58 that it looks like. */
const FOREIGN = 'АВЕЅЈКМНРСТХУаеорсухѕіјԁһԛԝΑΒΕΖΗΚΜΝΡΤΥΧον';
const LATIN = 'ABESJKMHPCTXYaeopcyxsijdhqwABEZHKMNPTYXov';

/** Finds the one key in a text: a text form whose parity is right, or base64 of 32 bytes, URL-safe too. */
export function pastedKey(text: string): PastedKey | undefined {
  if (text.length > MAX_CHARACTERS) return undefined;
  const lines = text.replace(LINE_MARK, '').normalize('NFKC');
  const key = textForm(lines) ?? base64Form(lines);
  if (!key || !Array.from(text).some(isOtherWidth)) return key;
  return { ...key, change: 'lookalikes' };
}

/** The symbols of what may be a mistyped key, without what stands between them. */
export function keySymbols(text: string): string {
  return latin(text.normalize('NFKC').replace(new RegExp(`[${INVISIBLE}${SIGNS}]+`, 'g'), ''));
}

function textForm(lines: string): PastedKey | undefined {
  const found = new Map<string, PastedKey>();
  // A key begins where a word begins, and ends where one ends.
  const words = lines
    .replace(SPACELESS, ' $& ')
    .split(new RegExp(`[${INVISIBLE}${SIGNS}]+`))
    .filter((word) => word !== '');
  for (let first = 0; first < words.length; first++) {
    let symbols = '';
    let end = first;
    while (end < words.length && symbols.length < 48) symbols += words[end++];
    const text = latin(symbols);
    if (!text.startsWith('Es') || !isTextForm(text)) continue;
    const isAlone = first === 0 && end === words.length;
    const change = text !== symbols ? 'lookalikes' : isAlone ? undefined : 'surroundings';
    found.set(text, { text, form: 'recovery-key', change });
  }
  return found.size === 1 ? [...found.values()][0] : undefined;
}

function base64Form(lines: string): PastedKey | undefined {
  const symbols = lines.replace(new RegExp(`[${INVISIBLE}]+`, 'g'), '');
  const match =
    /^(.*[:=])?["'`<([\u2018-\u201f\u00ab\u00bb]*([\w+/-]{43})=?["'`>)\];,.\u2018-\u201f\u00ab\u00bb]*$/.exec(
      symbols,
    );
  if (!match) return undefined;
  const [, label = '', given] = match as unknown as [string, string | undefined, string];
  // The other key of the pair, and a text in two alphabets, are no secret of this kind.
  if (/public/i.test(label) || (/[+/]/.test(given) && /[-_]/.test(given))) return undefined;
  const text = given.replace(/-/g, '+').replace(/_/g, '/');
  return { text, form: 'base64', change: label === '' ? undefined : 'surroundings' };
}

function isTextForm(text: string): boolean {
  try {
    wipe(decodeRecoveryKey(text));
    return true;
  } catch {
    return false;
  }
}

function latin(text: string): string {
  return text.replace(new RegExp(`[${FOREIGN}]`, 'g'), (letter) => LATIN[FOREIGN.indexOf(letter)]);
}

/** Whether a character is a letter or digit in another shape, such as a full-width one. */
function isOtherWidth(character: string): boolean {
  return character > '\x7f' && /^[A-Za-z0-9]$/.test(character.normalize('NFKC'));
}

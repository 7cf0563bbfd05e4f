import { callback, isFromCallback } from '../async.js';
import { KeyBackupError } from '../errors.js';

/**
 * The forms in which one passphrase may have been set and may be typed: keyboards, phones and files change it on the way,
 * and to a key derivation each is another one.
 */

/** The name of a form in which a passphrase was tried. */
export type PassphraseForm =
  | 'outer-space'
  | 'NFC'
  | 'NFD'
  | 'NFKC'
  | 'NFKD'
  | 'plain-signs'
  | 'first-letter'
  | 'caps-lock'
  | 'typographic-signs'
  | 'no-break-space'
  | 'line-end'
  | 'space-behind';

/** How a form differs from what was typed, for people. */
export const PASSPHRASE_FORMS: Readonly<Record<PassphraseForm, string>> = {
  'outer-space': 'without the space around it',
  NFC: 'in Unicode normalisation form NFC',
  NFD: 'in Unicode normalisation form NFD',
  NFKC: 'in Unicode normalisation form NFKC',
  NFKD: 'in Unicode normalisation form NFKD',
  'plain-signs': 'with plain quotation marks, dashes and spaces',
  'first-letter': 'with the first letter in the other case',
  'caps-lock': 'with capital and small letters exchanged, as with Caps Lock',
  'typographic-signs': 'with typographic quotation marks and dashes, as phones put them',
  'no-break-space': 'with no-break spaces',
  'line-end': 'with a line end behind it, as a file has it',
  'space-behind': 'with a space behind it',
};

/** A form of a passphrase, and how it differs from what was typed. */
export interface FormOfPassphrase {
  readonly text: string;
  readonly form: PassphraseForm;
}

/**
 * Other forms of a passphrase, the likeliest first; 24 at most, since each costs a derivation. White space has none.
 */
export function passphraseForms(typed: string): FormOfPassphrase[] {
  const trimmed = typed.replace(OUTER, '');
  if (trimmed === '') return [];
  const forms = new Map<string, PassphraseForm>();
  const add = (text: string, form: PassphraseForm) => {
    if (text !== typed && !forms.has(text)) forms.set(text, form);
  };
  add(trimmed, 'outer-space');
  // Phones put a space behind the last word, whatever else they change.
  for (const text of new Set([trimmed, typed])) {
    for (const form of ['NFC', 'NFD', 'NFKC', 'NFKD'] as const) add(text.normalize(form), form);
    add(plain(text), 'plain-signs');
    add(exchangeCase(text, /^./su), 'first-letter');
    add(exchangeCase(text, /./gsu), 'caps-lock');
    add(typographic(text), 'typographic-signs');
    add(text.replace(/ /g, '\u00a0'), 'no-break-space');
  }
  add(`${trimmed}\n`, 'line-end');
  add(`${trimmed}\r\n`, 'line-end');
  for (const text of [trimmed, trimmed.normalize('NFC'), trimmed.normalize('NFD')])
    add(`${text} `, 'space-behind');
  return Array.from(forms, ([text, form]) => ({ text, form }));
}

/** What a derivation of a key from a passphrase does besides. */
export interface OtherFormOptions {
  /** Other forms of a passphrase that does not fit are tried, some twenty derivations, and this is told which one fits. */
  readonly onOtherForm?: ((form: PassphraseForm) => void) | undefined;
}

/** Opens with a passphrase as it was typed, or else in another form, if that is wanted. `open` says `wrong-passphrase`. */
export async function inAnyForm<Key extends { dispose(): void }>(
  typed: string,
  open: (text: string) => Promise<Key>,
  { onOtherForm }: OtherFormOptions,
): Promise<Key> {
  try {
    return await open(typed);
  } catch (error) {
    if (!onOtherForm || !isWrong(error)) throw error;
    for (const { text, form } of passphraseForms(typed)) {
      const key = await open(text).catch((other: unknown) => {
        if (!isWrong(other)) throw other;
      });
      if (!key) continue;
      try {
        callback(() => {
          onOtherForm(form);
        });
      } catch (thrown) {
        key.dispose();
        throw thrown;
      }
      return key;
    }
    throw error;
  }
}

function isWrong(error: unknown): boolean {
  return error instanceof KeyBackupError && error.code === 'wrong-passphrase' && !isFromCallback(error);
}

/** White space, zero-width characters and a byte order mark around a text. */
const OUTER = /^[\s\u0085\u200b\u2060\ufeff]+|[\s\u0085\u200b\u2060\ufeff]+$/g;

function plain(text: string): string {
  return text
    .replace(/[\u2018-\u201b\u2032\u00b4`]/g, "'")
    .replace(/[\u201c-\u201f\u2033\u00ab\u00bb]/g, '"')
    .replace(/\u2014/g, '--')
    .replace(/[\u2010-\u2013\u2212]/g, '-')
    .replace(/\u2026/g, '...')
    .replace(/[\u00a0\u2000-\u200a\u202f\u3000]/g, ' ')
    .replace(/[\u00ad\u200b-\u200d\u2060\ufeff]/g, '');
}

function typographic(text: string): string {
  return text
    .replace(/(^|\s)'/g, '$1\u2018')
    .replace(/'/g, '\u2019')
    .replace(/(^|\s)"/g, '$1\u201c')
    .replace(/"/g, '\u201d')
    .replace(/--/g, '\u2014')
    .replace(/\.\.\./g, '\u2026');
}

/** A letter whose other case has another length, such as ß, stays. */
function exchangeCase(text: string, letters: RegExp): string {
  return text.replace(letters, (letter) => {
    const [upper, lower] = [letter.toUpperCase(), letter.toLowerCase()];
    const exchanged = letter === lower ? upper : lower;
    return exchanged.length === letter.length ? exchanged : letter;
  });
}

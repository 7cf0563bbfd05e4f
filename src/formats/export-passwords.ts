import { concat } from '../encoding/bytes.js';
import { passphraseForms, type PassphraseForm } from '../scheme/passphrase-forms.js';
import { passwordBytes } from '../scheme/passphrase.js';
import { AesCtr } from './aes-ctr.js';

/** `Latin-1`: as matrix-nio encodes a passphrase. */
export type ExportPassphraseForm = PassphraseForm | 'Latin-1';

/** The bytes of a passphrase. */
export interface Password {
  readonly bytes: Uint8Array;
  /** `undefined` for what was given. */
  readonly form: ExportPassphraseForm | undefined;
}

/** The passphrase as UTF-8; then, if they are wanted, its other forms, the likeliest first. The caller wipes them. */
export function passwordsOf(passphrase: string, withForms: boolean): Password[] {
  const given: Password = { bytes: passwordBytes(passphrase), form: undefined };
  if (!withForms) return [given];
  const composed = passphrase.normalize('NFC');
  const isLatin1 = /^[\u0000-\u00ff]*[\u0080-\u00ff][\u0000-\u00ff]*$/.test(composed);
  const codes = Uint8Array.from(isLatin1 ? composed : '', (character) => character.charCodeAt(0));
  return [
    given,
    ...(isLatin1 ? [{ bytes: codes, form: 'Latin-1' as const }] : []),
    ...passphraseForms(passphrase).map(({ text, form }) => ({ bytes: passwordBytes(text), form })),
  ];
}

/** Whether the ciphertext of an export gives what JSON may begin with: a quick look, which proves nothing. */
export async function beginsAsJson(
  key: Uint8Array,
  iv: Uint8Array,
  ciphertext: Uint8Array,
): Promise<boolean> {
  const cipher = new AesCtr(key, iv);
  const start = ciphertext.subarray(0, 16);
  const plaintext = concat(await cipher.update(start), await cipher.final());
  // "[" or "{", white space, or the first byte of a byte order mark.
  return [0x5b, 0x7b, 0x20, 0x0a, 0x0d, 0x09, 0xef].includes(plaintext[0]);
}

import { concat, wipe } from '../encoding/bytes.js';
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

/** Bytes of the plaintext that are looked at. */
const LOOK = 256;

/**
 * Whether the ciphertext of an export gives text, so that the password is right although the MAC may be wrong.
 *
 * @returns `certain` if so, `possible` where there is too little of it to tell.
 */
export async function givesText(
  key: Uint8Array,
  iv: Uint8Array,
  ciphertext: Uint8Array,
): Promise<'certain' | 'possible' | 'no'> {
  const cipher = new AesCtr(key, iv);
  const start = ciphertext.subarray(0, LOOK);
  const plaintext = concat(await cipher.update(start), await cipher.final());
  // Three of eight random bytes are printable ASCII. Others are in the names of rooms, or damage.
  const others = plaintext.filter((byte) => (byte < 0x20 || byte > 0x7e) && !SPACES.includes(byte));
  wipe(plaintext);
  if (others.length > Math.max(3, start.length / 4)) return 'no';
  return start.length < LOOK / 2 ? 'possible' : 'certain';
}

const SPACES: readonly number[] = [0x09, 0x0a, 0x0d];

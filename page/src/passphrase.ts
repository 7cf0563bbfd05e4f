/** Shorter passphrases are refused: the file may be copied and attacked without end. */
export const MIN_LENGTH = 12;

/** Why a passphrase cannot be used; empty if it can. */
export function faultOf(passphrase: string): string {
  if (Array.from(passphrase).length < MIN_LENGTH) return `Use at least ${MIN_LENGTH} characters.`;
  return bitsOf(passphrase) < 25 ? 'This repeats itself too much. Use four or more unrelated words.' : '';
}

/** What to say about a passphrase while it is typed. */
export function strengthOf(passphrase: string): string {
  if (passphrase === '') return `At least ${MIN_LENGTH} characters.`;
  const fault = faultOf(passphrase);
  if (fault !== '') return fault;
  const bits = bitsOf(passphrase);
  if (bits < 50) return 'Strength: weak. Add a word or two.';
  return bits < 80 ? 'Strength: fair.' : 'Strength: good.';
}

/** A rough measure: three bits for a letter, as in words, and more for a mixture. A character that repeats counts twice at most. */
function bitsOf(passphrase: string): number {
  const mixed = [/[A-Z]/, /[0-9]/, /[^a-zA-Z0-9 ]/].filter((kind) => kind.test(passphrase)).length;
  const characters = Array.from(passphrase);
  return Math.min(characters.length, 2 * new Set(characters).size) * (3 + mixed);
}

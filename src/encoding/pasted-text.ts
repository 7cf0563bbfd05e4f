/** Zero-width characters, soft hyphens and marks of direction. */
const INVISIBLE = /[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe0f\ufeff]/g;
const QUOTED = /^(?:"(.*)"|'(.*)'|`(.*)`|<(.*)>|[\u201c\u201e](.*)[\u201c\u201d])[,;]?$/s;

/** A text as it is pasted, without invisible characters, and without white space and quotes around it. */
export function pastedText(text: string): string {
  // One group is the inside of a pair, and the others are empty.
  return text.replace(INVISIBLE, '').trim().replace(QUOTED, '$1$2$3$4$5').trim();
}

/** Base64 as it is pasted, in the standard alphabet; a mixture of both alphabets stays as it is. */
export function pastedBase64(text: string): string {
  const symbols = pastedText(text).replace(/\s+/g, '');
  return /[+/]/.test(symbols) ? symbols : symbols.replace(/-/g, '+').replace(/_/g, '/');
}

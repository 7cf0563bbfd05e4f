/** Around a token in settings, mails, JSON and commands. */
const LABEL = /^(?:["']?(?:access[ _]?token|token)["']?\s*[:=]\s*|authorization\s*:\s*)+/i;
const QUOTED = /^(?:"(.*)"|'(.*)'|`(.*)`|<(.*)>|[\u201c\u201e](.*)[\u201c\u201d])[,;]?$/;

/** Zero-width characters, soft hyphens and marks of direction. */
const INVISIBLE = /[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g;

/** The access token in a text as it is pasted, if it could go into a header: without quotes, "Bearer" and a label. */
export function pastedToken(text: string): string | undefined {
  const value = text.replace(INVISIBLE, '').trim().replace(LABEL, '');
  // One group is the inside of a pair, and the others are empty.
  const inner = value.replace(QUOTED, '$1$2$3$4$5');
  const token = inner.trim().replace(/^bearer\s+/i, '');
  return /^[\x21-\x7e]+$/.test(token) ? token : undefined;
}

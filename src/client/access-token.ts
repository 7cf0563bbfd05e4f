import { pastedText } from '../encoding/pasted-text.js';

/** Around a token in settings, mails, JSON, commands and addresses. */
const LABEL =
  /^(?:(?:export\s+)?["']?(?:(?:matrix_)?access[ _]?token|token)["']?\s*[:=]\s*|authorization\s*:\s*)+/i;
const INSIDE = /"(?:access_)?token"\s*:\s*"([^"]+)"|[?&]access_token=([^&#\s]+)/;

/** A line end that was written out. */
const WRITTEN_END = /(?:\\[rn])+$/;

/**
 * The access token in a text as it is pasted: quotes, "Bearer", a label, what stands around it in JSON or an address, and
 * white space in it, since a token has none, are left out.
 *
 * @returns `undefined` for what could not go into a header.
 */
export function pastedToken(text: string): string | undefined {
  const inside = INSIDE.exec(text);
  // One group is the token, and the other is empty.
  const given = inside ? inside[0].replace(INSIDE, '$1$2') : text;
  const value = pastedText(given).replace(WRITTEN_END, '').replace(LABEL, '');
  const token = pastedText(value)
    .replace(/^bearer\s+/i, '')
    .replace(WRITTEN_END, '')
    .replace(/\s+/g, '');
  return /^[\x21-\x7e]+$/.test(token) ? token : undefined;
}

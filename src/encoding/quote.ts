/**
 * Text of foreign origin in a message: what a server, a file or a user wrote can be megabytes long, forge further lines
 * of a log, or steer the terminal that shows it.
 */

const MAX_LENGTH = 200;

/** Foreign text in quotation marks, as a JSON string: cut after 200 characters, on one line, nothing in it invisible. */
export function quote(text: string, maxLength = MAX_LENGTH): string {
  return printable(JSON.stringify(cut(text, maxLength)));
}

/** The same without quotation marks, for names and words. */
export function excerpt(text: string, maxLength = MAX_LENGTH): string {
  return printable(cut(text, maxLength));
}

/**
 * Text with every character that is not to be seen, but steers a terminal, the direction of the text or the line, as
 * the JSON escape of its UTF-16 units: JSON text stays the same JSON.
 */
export function printable(text: string): string {
  return text.replace(INVISIBLE, (character) =>
    Array.from({ length: character.length }, (_, i) => {
      const unit = character.charCodeAt(i).toString(16);
      return `\\u${unit.padStart(4, '0')}`;
    }).join(''),
  );
}

/** The categories Cc, Cf, Zl and Zp by their ranges, since not every engine knows `\p{Cf}`. */
const INVISIBLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\ud804[\udcbd\udccd]|\ud80d[\udc30-\udc3f]|\ud82f[\udca0-\udca3]|\ud834[\udd73-\udd7a]|\udb40[\udc01\udc20-\udc7f]/g;

function cut(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  // Not in the middle of a surrogate pair.
  return `${text.slice(0, maxLength).replace(/[\ud800-\udbff]$/, '')}…`;
}

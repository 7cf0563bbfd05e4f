const MAX_LENGTH = 200;

/**
 * Foreign text (from a server, a file or a user) in a message, as a quoted JSON string: one line, cut after 200
 * characters, invisible characters escaped. Raw text can be megabytes long, forge log lines or steer the terminal.
 */
export function quote(text: string, maxLength = MAX_LENGTH): string {
  return printable(JSON.stringify(cut(text, maxLength)));
}

/** {@link quote} without quotation marks, for names and words. */
export function excerpt(text: string, maxLength = MAX_LENGTH): string {
  return printable(cut(text, maxLength));
}

/**
 * Escapes every invisible character that steers a terminal, the line or the direction of text, as `\uXXXX` per UTF-16
 * unit. JSON text stays the same JSON.
 */
export function printable(text: string): string {
  return text.replace(INVISIBLE, (character) =>
    Array.from({ length: character.length }, (_, i) => {
      const unit = character.charCodeAt(i).toString(16);
      return `\\u${unit.padStart(4, '0')}`;
    }).join(''),
  );
}

/** The categories Cc, Cf, Zl and Zp as ranges, since not every engine knows `\p{Cf}`. */
const INVISIBLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\ud804[\udcbd\udccd]|\ud80d[\udc30-\udc3f]|\ud82f[\udca0-\udca3]|\ud834[\udd73-\udd7a]|\udb40[\udc01\udc20-\udc7f]/g;

function cut(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  // Not in the middle of a surrogate pair.
  return `${text.slice(0, maxLength).replace(/[\ud800-\udbff]$/, '')}…`;
}

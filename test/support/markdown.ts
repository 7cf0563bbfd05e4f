/** What the tests of the documents read out of Markdown. */

/** A fenced block: its language and what is in it. */
export interface Fence {
  readonly language: string;
  readonly text: string;
  /** What the `text` block right behind it holds, with nothing but white space between. */
  readonly output: string | undefined;
}

/** The fenced blocks of a document, in order. */
export function fences(markdown: string): Fence[] {
  const found = [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[1],
    text: match[2],
    start: match.index,
    end: match.index + match[0].length,
  }));
  return found.map(({ language, text, end }, i) => {
    const next = found.at(i + 1);
    const follows = next?.language === 'text' && markdown.slice(end, next.start).trim() === '';
    return { language, text, output: follows ? next.text : undefined };
  });
}

/** A document without its fenced blocks. */
export function prose(markdown: string): string {
  return markdown.replace(/^```\w*\n[\s\S]*?^```$/gm, '');
}

/** What stands between backticks, in order. */
export function codeSpans(markdown: string): string[] {
  return [...markdown.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code);
}

/** The rows of the table whose first heading is this, cell by cell. */
export function table(markdown: string, heading: string): string[][] {
  const lines = markdown.split('\n');
  const head = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  if (head < 0) throw new Error(`no table with the heading ${heading}`);
  const rows: string[][] = [];
  for (const line of lines.slice(head + 2)) {
    if (!line.startsWith('|')) break;
    rows.push(
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  }
  return rows;
}

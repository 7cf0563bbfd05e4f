import { describe, expect, it } from 'vitest';
import { base64Encode } from '../../src/encoding/base64.js';
import { keySymbols, pastedKey } from '../../src/scheme/pasted-key.js';
import { encodeRecoveryKey } from '../../src/scheme/recovery-key.js';

const bytes = Uint8Array.from({ length: 32 }, (_, i) => 255 - 5 * i);
const text = encodeRecoveryKey(bytes);
const groups = text.split(' ');
const plain = groups.join('');
const base64 = base64Encode(bytes);
const other = encodeRecoveryKey(bytes.map((byte) => byte ^ 1));

const wide = (ascii: string) =>
  ascii.replace(/[!-~]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) + 0xfee0));

describe('a pasted recovery key', () => {
  const asItIs: Record<string, string> = {
    'in one line': text,
    'without spaces': plain,
    'over two lines': `${groups.slice(0, 6).join(' ')}\n${groups.slice(6).join(' ')}\n`,
    'over twelve lines': groups.join('\r\n'),
    'over numbered lines': groups.map((group, i) => `${i + 1}. ${group}`).join('\n'),
    'in a bulleted list': groups.map((group) => `• ${group}`).join('\n'),
    'in quotation marks': `“${text}”`,
    'in angle brackets': `<${text}>`,
    'in backticks': `\`\`\`\n${text}\n\`\`\``,
    'in bold': `**${text}**`,
    'behind marks of a quoted mail': groups.map((group) => `> > ${group}`).join('\n'),
    'with no-break spaces': groups.join('\u00a0'),
    'with thin spaces': groups.join('\u2009'),
    'with ideographic spaces': groups.join('\u3000'),
    'with zero-width spaces': groups.join('\u200b'),
    'with soft hyphens': groups.join('\u00ad'),
    'with marks of direction': `\u202a${text}\u202c`,
    'with a byte order mark': `\ufeff${text}`,
    'with hyphens': groups.join('-'),
    'with dashes': groups.join(' – '),
    'with bullets': groups.join('·'),
    'with underscores': groups.join('_'),
    'with a full stop': `${text}.`,
    'with line breaks of quoted-printable': `${plain.slice(0, 30)}=\r\n${plain.slice(30)}`,
  };
  it.each(Object.entries(asItIs))('%s is read', (_, pasted) => {
    expect(pastedKey(pasted)).toEqual({ text: plain, form: 'recovery-key', change: undefined });
  });

  const around: Record<string, string> = {
    'behind a label': `Recovery key: ${text}`,
    'behind a label in Chinese': `恢复密钥：${text}`,
    'behind a label without a space': `恢复密钥${text}`,
    'between lines': `Element, March 2021\n${text}\nkeep this safe!`,
    'in JSON': JSON.stringify({ recovery_key: text }),
    'behind a word with its first letters': `Essential: ${text}`,
  };
  it.each(Object.entries(around))('%s is taken out, which is said', (_, pasted) => {
    expect(pastedKey(pasted)).toEqual({ text: plain, form: 'recovery-key', change: 'surroundings' });
  });

  const lookalikes: Record<string, string> = {
    'with full-width letters': wide(text),
    'with a Cyrillic letter': text.replace('E', 'Е'),
    'with a Greek letter': text.replace('E', 'Ε'),
    'with a mathematical letter': text.replace('E', '𝐄'),
  };
  it.each(Object.entries(lookalikes))('%s is repaired, which is said', (_, pasted) => {
    expect(pasted).not.toBe(text);
    expect(pastedKey(pasted)).toEqual({ text: plain, form: 'recovery-key', change: 'lookalikes' });
  });

  const none: Record<string, string> = {
    'a wrong parity': text.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a')),
    'one character less': text.slice(0, -1),
    'one character more': `${text}a`,
    'letters in front of it': `a${text}`,
    'capitals only': text.toUpperCase(),
    'two keys': `${text}\n${other}`,
    nothing: '',
    'a long text': `${'word '.repeat(1000)}${text}`,
  };
  it.each(Object.entries(none))('with %s is none', (_, pasted) => {
    expect(pastedKey(pasted)).toBeUndefined();
  });

  it('twice is one key', () => {
    expect(pastedKey(`${text}\n${plain}`)?.text).toBe(plain);
  });

  it('that is mistyped keeps its symbols for the search of the mistake', () => {
    expect(keySymbols(groups.join('-').slice(0, -1))).toBe(plain.slice(0, -1));
    expect(keySymbols(`"${text.replace('E', 'Е').slice(0, -1)}"`)).toBe(plain.slice(0, -1));
  });
});

describe('pasted base64', () => {
  const urlSafe = base64.replaceAll('+', '-').replaceAll('/', '_');
  const read: Record<string, string> = {
    'as it is': base64,
    'with padding': `${base64}=`,
    'in the URL-safe alphabet': urlSafe,
    'in the URL-safe alphabet with padding': `${urlSafe}=`,
    'over two lines': `${base64.slice(0, 20)}\r\n${base64.slice(20)}`,
    'in quotation marks': `"${base64}"`,
    'with spaces around it': `  ${base64}\n`,
  };
  it.each(Object.entries(read))('%s is read', (_, pasted) => {
    expect(pastedKey(pasted)).toEqual({ text: base64, form: 'base64', change: undefined });
  });

  it('behind a label is taken out, which is said', () => {
    for (const label of ['private key: ', 'key=', '{"private_key":']) {
      expect(pastedKey(`${label}${base64}`)).toEqual({
        text: base64,
        form: 'base64',
        change: 'surroundings',
      });
    }
  });

  it.each([
    ['a public key', `public key: ${base64}`],
    ['a mixture of both alphabets', `+-${base64.slice(2)}`],
    ['two keys', `${base64}\n${base64}`],
    ['31 bytes', base64.slice(0, 42)],
  ])('is not %s', (_, pasted) => {
    expect(pastedKey(pasted)).toBeUndefined();
  });
});

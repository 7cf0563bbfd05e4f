import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import * as client from '../src/client/index.js';
import { open, parseSessionData } from '../src/scheme/session-data.js';
import * as engine from '../src/engine.js';
import * as main from '../src/index.js';
import { codeSpans, fences, prose, table } from './support/markdown.js';
import { libolm, vodozemac } from './support/peers.js';
import { ORDER } from './support/layers.js';

/** The documents say of the code what holds. Their snippets are run by docs.slow.test.ts. */

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');

const DOCUMENTS = [
  'README.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'RELEASING.md',
  'vectors/README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/** Where a document means a file: as it stands, or inside `src`. */
function find(path: string): string | undefined {
  return [path, `src/${path}`].map((name) => join(root, name)).find((name) => existsSync(name));
}

/** The file names between backticks. */
const FILE = /^[\w./-]+\.(?:ts|mjs|json|md|svg|sh)$/;

/** Whether a file declares a function, method, class or other thing of this name. */
function declares(text: string, name: string): boolean {
  return [
    `(?:function\\*?|class|interface|type|const) ${name}\\b`,
    `^ {2,4}(?:(?:static|async|private) )*\\*?${name}[(<]`,
  ].some((form) => new RegExp(form, 'm').test(text));
}

describe('every document', () => {
  test.each(DOCUMENTS)('%s links to what is there', (path) => {
    // What stands in code is no link, whatever it looks like.
    const text = prose(read(path)).replace(/(`+).+?\1/g, '');
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [file, anchor] = target.split('#') as [string, string?];
      const linked = file === '' ? path : join(path, '..', file);
      expect(existsSync(join(root, linked)), `${path} links to ${target}`).toBe(true);
      if (anchor !== undefined) expect(anchors(read(linked)), `${path} links to ${target}`).toContain(anchor);
    }
  });

  const workflows = readdirSync(join(root, '.github/workflows')).map((name) => `.github/workflows/${name}`);

  test.each([...DOCUMENTS, ...workflows])('%s names commands that package.json has', (path) => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    for (const [, name] of read(path).matchAll(/npm run (?:--silent )?([\w:]+)/g)) {
      expect(Object.keys(scripts)).toContain(name);
    }
  });
});

test('the nightly workflow fuzzes every target', () => {
  const [, list] = /target:\s*\[([^\]]*)\]/.exec(read('.github/workflows/nightly.yml')) ?? [];
  const targets = readdirSync(join(root, 'fuzz/targets')).map((name) => name.replace('.ts', ''));
  expect(['index', ...(list.match(/[\w-]+/g) ?? [])].sort()).toEqual(targets.sort());
});

/** What headings can be linked by. */
function anchors(markdown: string): string[] {
  return [...prose(markdown).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} -]/gu, '')
      .replaceAll(' ', '-'),
  );
}

test('README.md links to every document for people', () => {
  const readme = read('README.md');
  for (const path of DOCUMENTS.filter((name) => name !== 'README.md')) expect(readme).toContain(`](${path})`);
});

test('git ignores what the programs of README.md write in a checkout', () => {
  const code = fences(read('README.md'))
    .filter(({ language }) => ['ts', 'sh'].includes(language))
    .map(({ text }) => text)
    .join('');
  const written = [...code.matchAll(/(?:-o|--report|openSqliteStore\()[ ']*([\w.-]+)/g)].map(
    ([, name]) => name,
  );
  expect(written).toHaveLength(5);
  const { stdout } = spawnSync('git', ['check-ignore', 'try.mjs', ...written], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(stdout.trim().split('\n')).toEqual(['try.mjs', ...written]);
});

test('docs/running-the-server.md begins with a list of its sections', () => {
  const [, list, text] = /^((?:.*\n)*?)(## (?:.*\n)*)/.exec(read('docs/running-the-server.md')) ?? [];
  for (const anchor of anchors(text.replace(/^# .*$/gm, ''))) expect(list).toContain(`](#${anchor})`);
});

describe.each(['docs/architecture.md', 'docs/how-the-scheme-works.md', 'CONTRIBUTING.md'])('%s', (path) => {
  const spans = codeSpans(prose(read(path)));

  test('names files that exist', () => {
    const files = spans.filter((span) => FILE.test(span) && span.includes('/'));
    expect(files.length).toBeGreaterThan(5);
    expect(files.filter((file) => find(file) === undefined)).toEqual([]);
  });
});

describe('docs/architecture.md', () => {
  const markdown = read('docs/architecture.md');

  test('names functions that stand in the file named before them', () => {
    const named = prose(markdown)
      .split(/\n(?:\n|(?=\d+\. |- ))/)
      .flatMap((paragraph) => {
        let file = '';
        return codeSpans(paragraph).flatMap((span) => {
          if (FILE.test(span)) file = span;
          const called = /^(\w+)\(\)$/.exec(span)?.[1];
          return called !== undefined && file !== '' ? [[file, called]] : [];
        });
      });
    // A class or a type stands right behind its file.
    const types = [...markdown.matchAll(/`([\w/.-]+\.ts)`\s+`([A-Z]\w+)`/g)].map(([, file, name]) => [
      file,
      name,
    ]);
    expect(named.length).toBeGreaterThan(15);
    expect(types.length).toBeGreaterThan(3);
    for (const [file, name] of [...named, ...types]) {
      const found = find(file);
      expect(found, `${file}, named before ${name}`).toBeDefined();
      expect(declares(readFileSync(found ?? '', 'utf8'), name), `${name} in ${file}`).toBe(true);
    }
  });

  test('lists the layers in the order that the test of the imports holds', () => {
    const rows = table(markdown, 'layer').map(([layer]) => codeSpans(layer));
    expect(rows).toEqual(ORDER);
  });

  test('fits on a page', () => {
    expect(markdown.split('\n').length).toBeLessThanOrEqual(81);
  });
});

describe('docs/architecture.svg', () => {
  const svg = read('docs/architecture.svg');
  const texts = [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);

  test('has every layer', () => {
    const names = texts.flatMap((text) => text.split(/, | \| /));
    for (const layer of [...ORDER.flat(), 'page']) expect(names).toContain(layer.replace('.ts', ''));
  });

  test('names calls that the page explains', () => {
    const calls = [...svg.matchAll(/<text class="call[^>]*>([^<]*)</g)].map(([, text]) => text);
    expect(calls.length).toBeGreaterThan(10);
    const page = read('docs/architecture.md');
    for (const call of calls) expect(page).toMatch(new RegExp(`\`${call}(?:\\(\\))?\``));
  });

  test('has labels that touch neither each other nor an edge or line', () => {
    const numbers = (element: string, ...names: string[]) =>
      names.map((name) => Number(new RegExp(` ${name}="([\\d.]+)"`).exec(element)?.[1]));
    // The widths of a character in a wide font, in pixels.
    const widths: Record<string, number> = { name: 9, what: 6.4, call: 7.3 };
    const labels = [...svg.matchAll(/<text class="(\w+)"[^>]*>([^<]*)</g)].map(([element, kind, text]) => {
      const [x, y] = numbers(element, 'x', 'y');
      return { x, y, end: x + text.length * widths[kind], text };
    });
    const boxes = [...svg.matchAll(/<rect class="box"[^>]*>/g)].map(([box]) => {
      const [x, y, width, height] = numbers(box, 'x', 'y', 'width', 'height');
      return { x, y, end: x + width, bottom: y + height };
    });
    expect([labels.length > 30, boxes.length]).toEqual([true, ORDER.length - 1]);
    for (const box of boxes) {
      const row = labels.filter(({ y }) => y > box.y && y < box.bottom).sort((a, b) => a.x - b.x);
      row.forEach(({ x, end, text }, i) => {
        expect(x, text).toBeGreaterThan(box.x);
        expect(end, text).toBeLessThan(i + 1 < row.length ? row[i + 1].x : box.end);
      });
    }
    const [line] = numbers(/<line[^>]*>/.exec(svg)?.[0] ?? '', 'x1');
    for (const { x, text } of [...labels, ...boxes.map((box) => ({ ...box, text: 'a box' }))]) {
      expect(x, text).toBeGreaterThan(line);
    }
  });

  test('can be read in light and in dark', () => {
    const themes = [...svg.matchAll(/:root \{([^}]*)\}/g)].map(
      ([, css]) => new Map([...css.matchAll(/--(\w+): (#\w{6})/g)].map(([, name, color]) => [name, color])),
    );
    expect(themes).toHaveLength(2);
    for (const theme of themes) {
      const luminance = (name: string) => {
        const channels = (theme.get(name) ?? '').match(/\w\w/g) ?? [];
        const [r, g, b] = channels.map((hex) => {
          const part = parseInt(hex, 16) / 255;
          return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      for (const text of ['ink', 'soft', 'call']) {
        for (const ground of ['box', 'paper']) {
          const [dark, light] = [luminance(text), luminance(ground)].sort((a, b) => a - b);
          expect((light + 0.05) / (dark + 0.05), `${text} on ${ground}`).toBeGreaterThanOrEqual(4.5);
        }
      }
    }
  });

  test('is a picture and nothing else', () => {
    expect(svg).not.toMatch(/<script|<foreignObject|<image|\shref|\son\w+=|url\(|@import/i);
    const open = [...svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/gs)].reduce<string[]>(
      (stack, [, closes, name, alone]) => {
        if (closes) expect(stack.pop()).toBe(name);
        else if (!alone) stack.push(name);
        return stack;
      },
      [],
    );
    expect(open).toEqual([]);
  });
});

describe('docs/how-the-scheme-works.md', () => {
  const outputs = fences(read('docs/how-the-scheme-works.md')).map(({ output = '' }) => output);

  /** What is printed under a name, its lines joined. */
  function printed(name: string, unit: 'bytes' | 'characters'): string {
    const found = new RegExp(`^${name}, \\d+ ${unit}\\n((?: {2}.*\\n)+)`, 'm').exec(outputs.join(''));
    if (!found) throw new Error(`nothing printed under ${name}`);
    return found[1].replace(/^ {2}|\n/gm, '');
  }

  test('its bytes are what both peers read', async () => {
    const privateKey = Uint8Array.from(Buffer.from(printed('private key', 'bytes'), 'hex'));
    const sessionData = {
      ephemeral: printed('ephemeral', 'characters'),
      ciphertext: printed('ciphertext', 'characters'),
      mac: printed('mac', 'characters'),
    };
    for (const peer of [await libolm(), await vodozemac()]) {
      expect(peer.decrypt(privateKey, sessionData)).toBe(printed('plaintext', 'characters'));
    }
  });

  test('its signature is one to libolm', async () => {
    const [, keyId] = /"ed25519:([\w+/]{43})"/.exec(outputs.join('')) ?? [];
    const signature = Buffer.from(printed('signature', 'bytes'), 'hex').toString('base64').replace(/=+$/, '');
    const olm = await libolm();
    expect(olm.verifies(keyId, printed('signed', 'characters'), signature)).toBe(true);
  });
});

describe('docs/migrating-from-libolm.md', async () => {
  const markdown = read('docs/migrating-from-libolm.md');
  const olm = await libolm();

  interface Case {
    readonly id: string;
    readonly flags: readonly string[];
    readonly result: string;
    readonly code?: string;
    readonly operation: string;
    readonly private_key: string;
    readonly session_data: { readonly ephemeral: string; readonly ciphertext: string; readonly mac: string };
  }

  function casesOf(proof: string): Case[] {
    const [file, ...ids] = codeSpans(proof);
    const { cases } = JSON.parse(read(`vectors/${file}`)) as { cases: Case[] };
    return ids.map((id) => {
      const found = cases.find((one) => one.id === id);
      if (!found) throw new Error(`${file} has no case ${id}`);
      return found;
    });
  }

  const tables = markdown.split(/^(?=\| input \|)/m).slice(1);
  const [both, oursOnly] = tables.map((part) => table(part, 'input'));

  test.each(both)('%s: libolm %s, here %s', (_, theirs, ours, proof) => {
    for (const one of casesOf(proof)) {
      expectOurs(one, ours);
      const accepts = one.flags.includes('libolm-accepts');
      const refuses = one.flags.includes('libolm-rejects');
      expect(theirs).toBe(
        accepts || (one.result === 'valid' && !refuses) ? theirs.replace('refuses', 'reads') : 'refuses',
      );
      if (one.operation !== 'decrypt' || !('session_data' in one)) continue;
      // Not only as it was when the vectors were made.
      const decrypt = () => olm.decrypt(Buffer.from(one.private_key, 'base64'), one.session_data);
      if (theirs === 'refuses') expect(decrypt).toThrow();
      else expect(decrypt).not.toThrow();
    }
  });

  test.each(oursOnly)('%s: here %s', (_, ours, proof) => {
    for (const one of casesOf(proof)) expectOurs(one, ours);
  });

  function expectOurs(one: Case, ours: string): void {
    expect(one.result === 'valid' ? 'reads' : `\`${one.code ?? ''}\``).toBe(ours);
  }

  test('there are rows in both tables', () => {
    expect(both.length).toBeGreaterThan(8);
    expect(oursOnly.length).toBeGreaterThan(2);
  });

  test('without a recipient libolm encrypts to a key of zeros, and everybody can read it', () => {
    const { ciphertext, mac } = parseSessionData(olm.encryptToNobody('x'));
    expect(open(new Uint8Array(32), ciphertext, mac)?.[0]).toBe('x'.charCodeAt(0));
  });

  test('names calls that the package has', () => {
    const known = new Set([
      ...Object.keys(main),
      ...Object.keys(engine),
      ...Object.keys(client),
      'crypto',
      'key',
    ]);
    const methods = [main.BackupDecryptionKey, main.BackupPublicKey].flatMap((type) => [
      ...Object.getOwnPropertyNames(type),
      ...Object.getOwnPropertyNames(type.prototype),
    ]);
    const ours = table(markdown, 'libolm').flatMap(([, here]) => codeSpans(here));
    const calls = ours.flatMap((code) => [...code.matchAll(/(\.?)(\w+)\(/g)]);
    expect(calls.length).toBeGreaterThan(15);
    const platform = ['getRandomValues', 'Uint8Array'];
    for (const [call, dot, name] of calls) {
      if (platform.includes(name)) continue;
      expect(dot ? methods : [...known], call).toContain(name);
    }
  });
});

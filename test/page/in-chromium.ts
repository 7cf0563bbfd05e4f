import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { readKeyExport } from '../../src/formats/key-export.js';
import { accountData, version } from './saved-files.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The page as a file. */
export const HTML = join(root, 'dist/page/rescue.html');

/** What the tests leave for people to look at. */
export const SHOTS = join(root, 'test-results');

/** Chromium, where there is one. */
export const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path) => path !== undefined && existsSync(path),
);

export const PHONE = { width: 375, height: 667 };
export const DESKTOP = { width: 1280, height: 800 };

/** Builds the page and starts the browser. */
export async function launch(): Promise<Browser> {
  execFileSync(process.execPath, [join(root, 'scripts/page.mjs')], { cwd: root });
  return chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
}

/** The page, opened as a file in a browser that has nothing else open. */
export class OpenedPage {
  readonly page: Page;
  /** The addresses of everything that it asked for. */
  readonly requests: string[] = [];
  /** Uncaught errors, and errors in the console. */
  readonly problems: string[] = [];
  readonly #context: BrowserContext;
  readonly #folder = mkdtempSync(join(tmpdir(), 'megolm-backup-page-'));

  private constructor(context: BrowserContext, page: Page) {
    this.#context = context;
    this.page = page;
    page.setDefaultTimeout(20_000);
    page.on('request', (request) => this.requests.push(request.url()));
    page.on('pageerror', (error) => this.problems.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') this.problems.push(message.text());
    });
  }

  static async in(browser: Browser): Promise<OpenedPage> {
    const context = await browser.newContext({ acceptDownloads: true, viewport: PHONE });
    const opened = new OpenedPage(context, await context.newPage());
    await opened.page.goto(pathToFileURL(HTML).href);
    return opened;
  }

  async close(): Promise<void> {
    await this.#context.close();
    rmSync(this.#folder, { recursive: true });
  }

  /** What it asked for of others. */
  get contacted(): string[] {
    return this.requests.filter((url) => !/^(file|blob):/.test(url));
  }

  /** Saves a file, as JSON unless it is text or bytes. Returns its path. */
  save(name: string, value: unknown): string {
    const path = join(this.#folder, name);
    const isContent = typeof value === 'string' || value instanceof Uint8Array;
    writeFileSync(path, isContent ? value : JSON.stringify(value));
    return path;
  }

  /** Chooses files, and nothing else. */
  async chooseFiles(paths: readonly string[]): Promise<void> {
    await this.toStep(1);
    await this.page.check('input[value=files]');
    // As people do it: by itself, setting the files of the field would report no change for the same names.
    const [chooser] = await Promise.all([this.page.waitForEvent('filechooser'), this.page.click('#files')]);
    await chooser.setFiles(paths);
  }

  /** Chooses a backup, and the version and the account data that belong to it. */
  async giveFiles(backup: unknown, name = 'backup.json'): Promise<void> {
    const others = [this.save('version.json', version), this.save('account.json', accountData)];
    await this.chooseFiles([this.save(name, backup), ...others]);
  }

  /** Fills in where the backup is. */
  async nameServer(url: string, token: string): Promise<void> {
    await this.toStep(1);
    await this.page.check('input[value=server]');
    await this.page.fill('#homeserver', url);
    await this.page.fill('#token', token);
  }

  /** Goes to a step of the form, from wherever the page is. */
  async toStep(step: 1 | 2 | 3): Promise<void> {
    for (const id of ['#again', '#change']) {
      if (await this.page.isVisible(id)) await this.page.click(id);
    }
    const legend = () => this.page.innerText('legend:visible');
    while (Number(/Step (\d)/.exec(await legend())?.[1]) > step) await this.page.click('#back');
    while (Number(/Step (\d)/.exec(await legend())?.[1]) < step) await this.page.click('#next');
  }

  /** Ticks one of the choices for experts. */
  async choose(id: 'salvage' | 'authenticated' | 'strict'): Promise<void> {
    await this.page.evaluate(`document.getElementById('${id}').checked = true`);
  }

  /** Fills in the rest, and starts. */
  async enter(held: string): Promise<void> {
    await this.toStep(2);
    await this.page.fill('#key', held);
    await this.toStep(3);
    await this.page.fill('#passphrase', 'export phrase');
    await this.page.fill('#repeat', 'export phrase');
    await this.page.click('#next');
  }

  /** Waits for the result. */
  async done(): Promise<void> {
    await this.page.waitForSelector('#results:visible, #problem:visible', { timeout: 60_000 });
    if (await this.page.isVisible('#problem')) expect.fail(await this.text('#error'));
  }

  /** Waits for the page to say that it cannot go on. */
  async refused(): Promise<void> {
    await this.page.waitForSelector('#problem:visible', { timeout: 60_000 });
  }

  /** What an element says. */
  async text(selector: string): Promise<string> {
    return (await this.page.textContent(selector)) ?? '';
  }

  /** Opens the numbers, which are made then. */
  async openNumbers(): Promise<void> {
    await this.page.click('#numbers > summary');
    await this.page.waitForSelector('#chart svg');
  }

  /** The text of a file that the page gives. */
  async download(id: 'export' | 'report'): Promise<string> {
    if (id === 'report' && !(await this.page.isVisible('#report'))) await this.openNumbers();
    const [download] = await Promise.all([this.page.waitForEvent('download'), this.page.click(`#${id}`)]);
    expect(download.suggestedFilename()).toBe(id === 'export' ? 'element-keys.txt' : 'report.json');
    return readFileSync(await download.path(), 'utf8');
  }

  /** What is in the export file. */
  async exported() {
    return readKeyExport(await this.download('export'), 'export phrase', { backend: nodeBackend() });
  }
}

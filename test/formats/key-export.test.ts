import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as Sdk from '@matrix-org/matrix-sdk-crypto-wasm';
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import type { StreamMac } from '../../src/formats/export-mac.js';
import { prepareExportedSession } from '../../src/formats/exported-session.js';
import {
  decryptKeyExport,
  readKeyExport,
  writeKeyExport,
  type DecryptExportOptions,
  type ExportFile,
  type ExportResult,
  type ReadExportOptions,
  type WriteExportOptions,
} from '../../src/formats/key-export.js';
import type { ExportedSessionData } from '../../src/formats/room-key.js';
import type { KeyBackupError } from '../../src/errors.js';
import { runs } from '../support/runs.js';
import { rejection, sealedExport, wellSaid, type SealedExport } from '../support/samples.js';

const sample = JSON.parse(
  readFileSync(new URL('../../vectors/sample-export.json', import.meta.url), 'utf8'),
) as ExportedSessionData[];
const few = sample.slice(0, 3);
/** Derives with one round what asks for those of a written file. */
const backend = {
  ...nodeBackend(),
  pbkdf2: (password: Uint8Array, salt: Uint8Array, iterations: number, length: number) =>
    nodeBackend().pbkdf2(password, salt, iterations >= 100_000 ? 1 : iterations, length, {}),
};

const BEGIN = '-----BEGIN MEGOLM SESSION DATA-----\n';
const END = '\n-----END MEGOLM SESSION DATA-----\n';

/** An export file made by other means than the engine's. */
function make(made: Partial<SealedExport> = {}): string {
  return sealedExport({ passphrase: 'right', plaintext: JSON.stringify(few), ...made });
}

async function refusal(file: ExportFile, passphrase = 'right', options: ReadExportOptions = {}) {
  try {
    await readKeyExport(file, passphrase, options);
  } catch (error) {
    return wellSaid(error).code;
  }
  return 'accepted';
}

async function write(sessions: Iterable<unknown>, options: WriteExportOptions = {}) {
  const results: ExportResult[] = [];
  const onResult = (result: ExportResult) => results.push(result);
  let file = '';
  const all = { iterations: 100_000, backend, onResult, ...options };
  for await (const piece of writeKeyExport(sessions, 'right', all)) file += piece;
  return { file, results };
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8');

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('the event loop', () => {
  const many = sample.slice(0, 300);
  const plaintext = JSON.stringify(many);
  const pieces = (length: number) => Math.ceil(length / (1 << 16));
  let turns = 0;

  /** Every look at the clock is one after the end of a turn. */
  function stubClock() {
    let time = 0;
    const { setImmediate } = globalThis;
    turns = 0;
    vi.stubGlobal('performance', { now: () => (time += 25) });
    vi.stubGlobal('setImmediate', (callback: () => void) => {
      turns++;
      setImmediate(callback);
    });
  }

  /** A signal that is aborted from a look on. */
  function signalAfter(looks: number) {
    const signal = {
      looks: 0,
      get aborted() {
        return ++this.looks > looks;
      },
      reason: undefined,
      addEventListener: () => undefined,
      removeEventListener: () => undefined,
    };
    return signal;
  }

  test('has its turn at every piece that is read, and ends the reading wherever it stands', async () => {
    const file = make({ plaintext });
    stubClock();
    const patient = signalAfter(Infinity);
    const results = await readKeyExport(file, 'right', { backend, signal: patient });
    expect(results).toHaveLength(many.length);
    expect(pieces(plaintext.length)).toBeGreaterThan(2);
    const bytes = 37 + plaintext.length;
    expect(turns).toBe(pieces(file.length) + pieces(bytes) + pieces(plaintext.length) + many.length);
    for (let looks = 0; looks < patient.looks; looks += looks < patient.looks - many.length ? 1 : 50) {
      expect(await refusal(file, 'right', { backend, signal: signalAfter(looks) })).toBe('aborted');
    }
  });

  test('has its turn at every session that is written', async () => {
    stubClock();
    await write(many);
    expect(turns).toBe(many.length);
  });
});

describe('reading refuses', () => {
  const whole = make();
  const body = whole.slice(BEGIN.length, -END.length);
  const groups = body.slice(0, 4 * Math.floor(body.length / 4) - 4);
  test.each<[string, string, string]>([
    ['nothing', '', 'bad-export-file'],
    ['another file', '{"rooms":{}}', 'bad-export-file'],
    ['only the first line', BEGIN, 'bad-export-file'],
    ['nothing between the lines', BEGIN + END, 'bad-export-file'],
    ['a file without its last line', BEGIN + body, 'bad-export-file'],
    ['a file without its last line but with a newline', `${BEGIN}${body}\n`, 'bad-export-file'],
    ['another last line', `${BEGIN}${body}\n-----END PGP MESSAGE-----\n`, 'bad-export-file'],
    ['half a last line', `${BEGIN}${body}\n-----END MEG`, 'bad-export-file'],
    ['no newline behind the first line', `${BEGIN.trim()}${body}${END}`, 'bad-export-file'],
    ['an underscore in the base64', `${BEGIN}_${body.slice(1)}${END}`, 'bad-export-file'],
    ['an underscore between the base64', `${BEGIN}_${body}${END}`, 'bad-export-file'],
    [
      'letters outside ASCII between the base64',
      `${BEGIN}${body.slice(0, 80)}ðð${body.slice(80)}${END}`,
      'bad-export-file',
    ],
    ['another first line', whole.replace('MEGOLM SESSION DATA', 'PGP MESSAGE'), 'bad-export-file'],
    ['one symbol over', `${BEGIN}${groups}A${END}`, 'bad-export-file'],
    ['padding that is not needed', `${BEGIN}${groups}=${END}`, 'bad-export-file'],
    ['whole groups, but not all', `${BEGIN}${groups}${END}`, 'wrong-passphrase'],
    ['a letter outside ASCII', `${BEGIN}ä${body.slice(1)}${END}`, 'bad-export-file'],
    ['a dash in the base64', `${BEGIN}${body.slice(0, 40)}-${body.slice(41)}${END}`, 'bad-export-file'],
    ['padding in the middle', `${BEGIN}${body.slice(0, 40)}==${body.slice(42)}${END}`, 'bad-export-file'],
    ['too much padding', `${BEGIN}${body.replace(/=*$/, '===')}${END}`, 'bad-export-file'],
    ['one symbol missing', `${BEGIN}${body.replace(/=*$/, '').slice(0, -2)}${END}`, 'wrong-passphrase'],
    ['68 bytes', make({ change: (bytes) => bytes.subarray(0, 68) }), 'bad-export-file'],
    ['version 0', make({ version: 0 }), 'bad-export-file'],
    ['version 2', make({ version: 2 }), 'bad-export-file'],
    ['no rounds', make({ roundsField: 0 }), 'bad-export-file'],
    ['10,000,001 rounds', make({ roundsField: 10_000_001 }), 'bad-export-file'],
    ['2^32 - 1 rounds', make({ roundsField: 0xffffffff }), 'bad-export-file'],
    ['a byte changed', make({ change: flipAt(60) }), 'wrong-passphrase'],
    ['another number of rounds', make({ roundsField: 11 }), 'wrong-passphrase'],
    ['a cut ciphertext', make({ change: (bytes) => bytes.subarray(0, -30) }), 'wrong-passphrase'],
    ['no UTF-8 inside', make({ plaintext: Buffer.of(0x5b, 0xff, 0x5d) }), 'bad-utf8'],
    ['no JSON inside', make({ plaintext: 'hello' }), 'bad-json'],
    ['nothing inside', make({ plaintext: '' }), 'bad-json'],
    ['an object inside', make({ plaintext: '{}' }), 'bad-json'],
  ])('%s', async (_, file, code) => {
    expect(await refusal(file)).toBe(code);
  });

  test('another passphrase, and says that it may also be damage', async () => {
    await expect(readKeyExport(whole, 'wrong')).rejects.toThrow(
      expect.objectContaining({ code: 'wrong-passphrase', message: expect.stringMatching(/damaged/) }),
    );
  });

  test('another normalisation of the passphrase', async () => {
    const file = make({ passphrase: 'Schlüssel'.normalize('NFC') });
    expect(await refusal(file, 'Schlüssel'.normalize('NFD'))).toBe('wrong-passphrase');
  });

  test('a passphrase that is no string', async () => {
    expect(await refusal(whole, 5 as never)).toBe('bad-parameters');
  });

  test('any changed byte of the decoded file', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        // All but the rounds: a change there may ask for millions of them.
        const place = (length: number) => (at % (length - 4)) + (at % (length - 4) < 33 ? 0 : 4);
        const file = make({ rounds: 1, change: (bytes) => flip(bytes, place(bytes.length), mask) });
        const code = await refusal(file);
        expect(['wrong-passphrase', 'bad-export-file']).toContain(code);
      }),
      { numRuns: 60, examples: [[0, 1]] },
    );
  });

  test('more than the bound, before the key is derived', async () => {
    expect(await refusal(make(), 'wrong', { maxBytes: 100 })).toBe('too-large');
    const bytes = Buffer.from(body, 'base64').length;
    expect(await refusal(whole, 'wrong', { maxBytes: bytes - 1 })).toBe('too-large');
    expect(await refusal(whole, 'wrong', { maxBytes: bytes })).toBe('wrong-passphrase');
  });

  test('a cut file, and says how much there is', async () => {
    for (const size of [0, 68]) {
      const cut = make({ change: (bytes) => bytes.subarray(0, size) });
      await expect(readKeyExport(cut, 'right')).rejects.toThrow(
        `key export: expected at least 69 bytes, got ${size}: it is truncated`,
      );
    }
  });

  test('a file that never ends', async () => {
    function* endless() {
      yield Buffer.from(BEGIN);
      for (;;) yield Buffer.from('A'.repeat(9999));
    }
    expect(await refusal(endless(), 'right', { maxBytes: 1_000_000 })).toBe('too-large');
  });

  test('when aborted: before, while deriving, while waiting for the file', async () => {
    expect(await refusal(make(), 'right', { signal: AbortSignal.abort() })).toBe('aborted');
    const deriving = new AbortController();
    const onProgress = () => {
      deriving.abort();
    };
    const slow = make({ rounds: 1, roundsField: 10_000_000 });
    expect(await refusal(slow, 'right', { signal: deriving.signal, onProgress })).toBe('aborted');
    const waiting = new AbortController();
    async function* hangs() {
      yield Buffer.from(BEGIN);
      waiting.abort();
      await new Promise(() => undefined);
    }
    expect(await refusal(hangs(), 'right', { signal: waiting.signal })).toBe('aborted');
  });

  test('content that is not JSON, without quoting it', async () => {
    const file = make({ plaintext: '{"session_key": SECRET}' });
    const error: unknown = await readKeyExport(file, 'right').catch((error: unknown) => error);
    expect(error).toMatchObject({ code: 'bad-json' });
    expect((error as Error).cause).toBeUndefined();
    expect((error as Error).message).not.toContain('SECRET');
  });

  test('nothing with the passphrase in the message', async () => {
    await expect(readKeyExport(whole, 'a secret phrase')).rejects.toThrow(/^(?!.*a secret phrase)/s);
  });
});

function flip(bytes: Buffer, at: number, mask: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] ^= mask;
  return changed;
}

function flipAt(at: number) {
  return (bytes: Buffer) => flip(bytes, at, 1);
}

describe('reading accepts', () => {
  const plain = JSON.stringify(few);
  const whole = make();
  const wrapped = (width: number, end: string) =>
    whole.replace(/[A-Za-z0-9+/=]{60,}/, (body) => body.match(new RegExp(`.{1,${width}}`, 'g'))!.join(end));
  test.each<[string, string]>([
    ['one long line', whole],
    ['short lines', wrapped(64, '\n')],
    ['Windows line ends', wrapped(76, '\n').replaceAll('\n', '\r\n')],
    ['old Macintosh line ends', wrapped(76, '\n').replaceAll('\n', '\r')],
    ['spaces and tabs', wrapped(5, ' \t')],
    ['no padding', whole.replace(/=+\n/, '\n')],
    ['a byte order mark', `\ufeff${whole}`],
    ['text before and after', `Dear Alice,\n${'long '.repeat(1000)}\n${whole}Yours, 🔑\n`],
    ['a line before that says BEGIN', `-----BEGIN ALICE-----\n${whole}`],
    ['a million characters in the line before', `${'x'.repeat(1_000_000)}\n${whole}`],
    ['no newline at the end', whole.trimEnd()],
    ['no newline before the last line', `${whole.slice(0, -END.length)}${END.trim()}`],
    ['spaces around the lines', ` ${BEGIN.trim()}\t\n${whole.slice(BEGIN.length).trimEnd()}  `],
    ['an IV of ones, whose counter overflows', make({ iv: Buffer.alloc(16, 0xff) })],
    ['one round', make({ rounds: 1 })],
  ])('%s', async (_, file) => {
    expect(text(await decryptKeyExport(file, 'right'))).toBe(plain);
  });

  test('a file in pieces of any size, or in one', async () => {
    const bytes = Buffer.from(wrapped(64, '\n'));
    expect(text(await decryptKeyExport(new Uint8Array(bytes), 'right'))).toBe(plain);
    for (const size of [1, 2, 3, 7, 64, 1000]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
        bytes.subarray(i * size, (i + 1) * size),
      );
      expect(text(await decryptKeyExport(pieces, 'right'))).toBe(plain);
    }
  });

  test('an input that ended by itself, without telling it to end', async () => {
    const { signal } = new AbortController();
    const pieces = [Buffer.from(whole)];
    const told: string[] = [];
    const file: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          const value = pieces.shift();
          return Promise.resolve(value ? { done: false, value } : { done: true, value: undefined });
        },
        return: () => {
          told.push('to end');
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    expect(text(await decryptKeyExport(file, 'right', { signal }))).toBe(plain);
    expect(told).toEqual([]);
    pieces.push(Buffer.from(whole), Buffer.from(whole));
    expect(await refusal(file, 'right', { signal, maxBytes: 10 })).toBe('too-large');
    expect(told).toEqual(['to end']);
  });

  test('a long file in single bytes', async () => {
    const plaintext = JSON.stringify('x'.repeat(150_000));
    const pieces = Array.from(Buffer.from(make({ plaintext })), (byte) => Uint8Array.of(byte));
    expect(text(await decryptKeyExport(pieces, 'right'))).toBe(plaintext);
  });

  test('an empty passphrase, which some client may have written', async () => {
    expect(await readKeyExport(make({ passphrase: '' }), '')).toHaveLength(3);
  });

  test('an empty array', async () => {
    expect(await readKeyExport(make({ plaintext: '[]' }), 'right')).toEqual([]);
  });

  test('entries beside broken ones, with a reason for each', async () => {
    const { sender_key, ...anonymous } = few[1];
    const entries = [
      few[0],
      null,
      { ...few[1], session_key: 'AAAA' },
      anonymous,
      { ...few[2], session_id: 'x' },
    ];
    const results = await readKeyExport(make({ plaintext: JSON.stringify(entries) }), 'right');
    expect(sender_key).toBeTypeOf('string');
    expect(results.map((result) => (result.ok ? result.flags.join() : result.error.code))).toEqual([
      '',
      'bad-json',
      'bad-session-key',
      'missing-sender-key',
      'session-id-mismatch',
    ]);
    expect(results[2]).toMatchObject({ index: 2, room_id: few[1].room_id, session_id: few[1].session_id });
  });

  test('any bytes, as long as the MAC fits', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (plaintext) => {
        const bytes = await decryptKeyExport(make({ plaintext, rounds: 1 }), 'right');
        expect(Buffer.from(bytes).equals(plaintext)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});

describe('reading with other forms of the passphrase', () => {
  const latin1 = Buffer.from('Schl\xfcssel', 'latin1');
  test.each<[made: string | Buffer, typed: string, form: string]>([
    [latin1, 'Schlüssel', 'Latin-1'],
    [latin1, 'Schlüssel'.normalize('NFD'), 'Latin-1'],
    ['Schlüssel', 'Schlüssel'.normalize('NFD'), 'NFC'],
    ['Schlüssel'.normalize('NFD'), 'Schlüssel', 'NFD'],
    ['fish', 'fish ', 'outer-space'],
    ['fish ', 'fish', 'space-behind'],
    ['fish\n', 'fish', 'line-end'],
    ['fish', 'Fish', 'first-letter'],
    ['it’s', "it's", 'typographic-signs'],
  ])('takes %j for %j, and tells the form: %s', async (made, typed, form) => {
    const file = make({ passphrase: made as string });
    const told: string[] = [];
    const onOtherForm = (one: string) => {
      told.push(one);
    };
    const results = await readKeyExport(file, typed, { backend, onOtherForm });
    expect(results.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect(told).toEqual([form]);
    // Only when asked to.
    expect(await refusal(file, typed)).toBe('wrong-passphrase');
  });

  test('tells nothing where the passphrase itself fits, and tries no other', async () => {
    const told = vi.fn();
    const seen: string[] = [];
    const counting = {
      ...backend,
      pbkdf2: (...args: Parameters<NonNullable<typeof backend.pbkdf2>>) => {
        seen.push(Buffer.from(args[0]).toString());
        return backend.pbkdf2(...args);
      },
    };
    await readKeyExport(make(), 'right', { backend: counting, onOtherForm: told });
    expect([told.mock.calls.length, seen.length]).toEqual([0, 1]);
    await rejection(readKeyExport(make(), 'wröng', { backend: counting, onOtherForm: told }));
    expect(told).not.toHaveBeenCalled();
    expect(seen.length).toBeLessThanOrEqual(1 + 24);
  });

  test('refuses a changed file as before, whatever the form', async () => {
    const file = make({ change: (bytes) => bytes.fill(0, 60, 61) });
    expect(await refusal(file, 'right ', { backend, onOtherForm: () => undefined })).toBe('wrong-passphrase');
  });

  test('ends when aborted between two forms', async () => {
    const abort = new AbortController();
    let calls = 0;
    const stopping = {
      ...backend,
      pbkdf2: (...args: Parameters<NonNullable<typeof backend.pbkdf2>>) => {
        if (++calls === 3) abort.abort();
        return backend.pbkdf2(...args);
      },
    };
    const options = { backend: stopping, signal: abort.signal, onOtherForm: () => undefined };
    expect((await rejection(readKeyExport(make(), 'wrong', options))).code).toBe('aborted');
    expect(calls).toBe(3);
  });
});

describe('salvage of a file', () => {
  const sessions = sample.slice(0, 40);
  const plain = JSON.stringify(sessions);
  const file = make({ plaintext: plain });

  async function salvaged(damaged: string, passphrase = 'right', options: DecryptExportOptions = {}) {
    const damage: string[] = [];
    const onDamage = (error: KeyBackupError) => damage.push(wellSaid(error).message);
    try {
      const settings = { backend, ...options, salvage: true, onDamage };
      return { text: text(await decryptKeyExport(damaged, passphrase, settings)), damage };
    } catch (error) {
      return { code: wellSaid(error).code, damage };
    }
  }

  test('that is whole gives all of it, and tells no damage', async () => {
    expect(await salvaged(file)).toEqual({ text: plain, damage: [] });
  });

  test('that lacks only its last line gives all of it, which the MAC still proves', async () => {
    expect(await salvaged(file.slice(0, -END.length))).toEqual({ text: plain, damage: [] });
    expect(await salvaged(file.slice(0, -3))).toEqual({ text: plain, damage: [] });
  });

  test('that is cut off anywhere gives what is before the cut, and says that the MAC is missing', async () => {
    for (const share of [0.05, 0.3, 0.5, 0.9]) {
      const symbols = Math.floor(share * (file.length - END.length - BEGIN.length));
      const cut = file.slice(0, BEGIN.length + symbols);
      const { text: read = '', damage } = await salvaged(cut);
      expect(read).toBe(text(Buffer.from(plain).subarray(0, Math.floor((3 * symbols) / 4) - 37)));
      expect(damage).toEqual([expect.stringMatching(/the file is cut off, its MAC is missing/)]);
      expect(await refusal(cut)).toBe('bad-export-file');
    }
  });

  test('that was changed in any one byte gives all others, and says that the MAC is wrong', async () => {
    for (const at of [0, 1, 200, 255, 256, 20_000]) {
      const changed = make({ plaintext: plain, change: flipAt(37 + at) });
      const { text: read = '', damage } = await salvaged(changed);
      const [is, was] = [Buffer.from(read), Buffer.from(plain)];
      expect(is.filter((byte, i) => byte !== was[i])).toHaveLength(1);
      expect(damage).toEqual([
        expect.stringMatching(/expected its MAC, got another, .*: the file is damaged or was changed$/),
      ]);
      await expect(decryptKeyExport(changed, 'right')).rejects.toMatchObject({
        code: 'wrong-passphrase',
        message: expect.stringMatching(/the passphrase is right.*damaged.*salvage/) as string,
      });
    }
  });

  test('with a wrong MAC alone gives all of it, and says so', async () => {
    const changed = make({ plaintext: plain, change: (bytes) => flip(bytes, bytes.length - 1, 1) });
    expect(await salvaged(changed)).toMatchObject({ text: plain, damage: { length: 1 } });
  });

  test('in the middle of whose base64 a character is wrong gives what is before', async () => {
    const { text: read = '', damage } = await salvaged(`${file.slice(0, 9000)}_${file.slice(9001)}`);
    expect(plain.startsWith(read)).toBe(true);
    expect(read.length).toBeGreaterThan(6000);
    expect(damage).toEqual([
      'key export: expected standard base64 between its two lines, got something else',
    ]);
  });

  test.each<[string, string]>([
    ['whole', file],
    ['cut off', file.slice(0, 9000)],
    ['changed', make({ plaintext: plain, change: flipAt(5000) })],
    ['changed in its salt', make({ plaintext: plain, change: flipAt(3) })],
  ])('that is %s gives nothing to a wrong passphrase', async (what, damaged) => {
    const passphrase = what.endsWith('salt') ? 'right' : 'wrong';
    expect(await salvaged(damaged, passphrase)).toEqual({ code: 'wrong-passphrase', damage: [] });
  });

  test('gives nothing to ten thousand wrong keys', async () => {
    const noise = { ...backend, pbkdf2: () => Promise.resolve(new Uint8Array(randomBytes(64))) };
    const cut = file.slice(0, 400);
    for (let i = 0; i < runs(2000); i++) {
      expect(await salvaged(cut, 'x', { backend: noise })).toEqual({ code: 'wrong-passphrase', damage: [] });
    }
  });

  test('that is too short to tell gives nothing', async () => {
    expect(await salvaged(make({ plaintext: '[]', change: flipAt(38) }))).toMatchObject({
      code: 'wrong-passphrase',
    });
  });

  test('with a passphrase in another form is read too', async () => {
    const onOtherForm = vi.fn();
    const { text: read = '' } = await salvaged(file.slice(0, 9000), 'right ', { onOtherForm });
    expect(plain.startsWith(read.slice(0, -2))).toBe(true);
    expect(onOtherForm.mock.calls).toEqual([['outer-space']]);
  });

  test('is never what readKeyExport gives', async () => {
    const changed = make({ plaintext: plain, change: flipAt(60) });
    expect(await refusal(changed, 'right', { salvage: true } as ReadExportOptions)).toBe('wrong-passphrase');
  });
});

describe('a session without a claimed ed25519 key', () => {
  const without = [
    few[0],
    { ...few[1], sender_claimed_keys: {} },
    { ...few[2], sender_claimed_keys: { curve: 'x' } },
  ];
  async function written(options: WriteExportOptions) {
    const told: (string | readonly string[])[] = [];
    const onResult = (result: ExportResult) => {
      told.push(result.ok ? result.flags : result.error.code);
    };
    let file = '';
    const settings = { backend, iterations: 100_000, onResult, ...options };
    for await (const piece of writeKeyExport(without, 'right', settings)) file += piece;
    return { told, count: (await readKeyExport(file, 'right', { backend })).length };
  }

  test('is written, and flagged', async () => {
    const flagged = ['no-claimed-ed25519'];
    expect(await written({})).toEqual({ told: [[], flagged, flagged], count: 3 });
  });

  test('is left out where every importer that was tried has to take the file', async () => {
    expect(await written({ strict: true })).toEqual({
      told: [[], 'missing-field', 'missing-field'],
      count: 1,
    });
  });
});

describe('reading an object of sessions', () => {
  test('as another program writes it', async () => {
    const plaintext = JSON.stringify({ version: 1, sessions: few });
    const results = await readKeyExport(make({ plaintext }), 'right', { backend });
    expect(results.map((result) => [result.ok, result.ok && result.session.session_id])).toEqual(
      few.map(({ session_id }) => [true, session_id]),
    );
  });

  test.each(['{"sessions":{}}', '{"sessions":null}', '{}', '7'])('refuses %s', async (plaintext) => {
    expect(await refusal(make({ plaintext }))).toBe('bad-json');
  });

  test('behind a byte order mark', async () => {
    const plaintext = `\ufeff${JSON.stringify(few)}`;
    expect(await readKeyExport(make({ plaintext }), 'right', { backend })).toHaveLength(3);
  });
});

describe('writing', () => {
  test.each([0, 99_999, 10_000_001, 1.5, Number.NaN, '500000' as never])(
    'refuses %s rounds',
    async (iterations) => {
      expect((await rejection(write(few, { iterations }))).code).toBe('bad-parameters');
    },
  );

  test('takes as many rounds as readers take', async () => {
    const writing = write([], { iterations: 10_000_000, signal: AbortSignal.abort() });
    expect((await rejection(writing)).code).toBe('aborted');
  });

  test('reads the first sessions while the keys are derived', async () => {
    let onRead = (): void => undefined;
    const read = new Promise<void>((resolve) => (onRead = resolve));
    function* sessions() {
      onRead();
      yield* few;
    }
    const pbkdf2: typeof backend.pbkdf2 = (...task) => read.then(() => backend.pbkdf2(...task));
    let file = '';
    const options = { iterations: 100_000, backend: { ...backend, pbkdf2 } };
    for await (const piece of writeKeyExport(sessions(), 'right', options)) file += piece;
    expect(await readKeyExport(file, 'right', { backend })).toHaveLength(few.length);
  });

  test('refuses its parameters although the sessions come to no end', async () => {
    function* endless() {
      for (;;) yield few[0];
    }
    const writing = (async () => {
      for await (const _ of writeKeyExport(endless(), '', { backend }));
    })();
    expect((await rejection(writing)).code).toBe('bad-parameters');
  });

  test('comes in pieces of some kilobytes', async () => {
    const lengths: number[] = [];
    const options = { iterations: 100_000, backend };
    for await (const piece of writeKeyExport(sample, 'right', options)) lengths.push(piece.length);
    const total = lengths.reduce((sum, length) => sum + length);
    expect(Math.max(...lengths)).toBeLessThan(300_000);
    expect(lengths.length).toBeLessThan(total / 30_000);
  });

  test('ends with what a session of the caller throws', async () => {
    const mine = new TypeError('mine');
    const session = new Proxy(few[0], {
      get(of: object, name) {
        if (name === 'session_key') throw mine;
        return Reflect.get(of, name) as unknown;
      },
    });
    await expect(write([session])).rejects.toBe(mine);
  });

  test('refuses an empty passphrase', async () => {
    expect((await rejection(writeKeyExport(few, '').next())).code).toBe('bad-parameters');
  });

  test('reads with and without the ciphers of a backend what was written without and with them', async () => {
    const { pbkdf2, aesCtr, hmacSha256 } = backend;
    const derivesOnly = { name: 'derives only', pbkdf2 };
    for (const [writer, reader] of [
      [derivesOnly, backend],
      [backend, derivesOnly],
      [
        { ...derivesOnly, aesCtr },
        { ...derivesOnly, hmacSha256 },
      ],
    ]) {
      const { file } = await write(sample, { backend: writer });
      const read = await readKeyExport(file, 'right', { backend: reader });
      expect(read.map((result) => result.ok && result.session)).toEqual(sample);
    }
  });

  test.each<[string, StreamMac]>([
    [
      'fails',
      {
        update() {
          throw new TypeError('no');
        },
        digest: () => new Uint8Array(32),
      },
    ],
    ['has another length', { update: () => undefined, digest: () => new Uint8Array(31) }],
  ])('ends with backend-failed when the MAC of a backend %s', async (_, mac) => {
    const failing = { ...backend, hmacSha256: () => mac };
    expect((await rejection(write(few, { backend: failing }))).code).toBe('backend-failed');
  });

  test('gives back what went in', async () => {
    const { file, results } = await write(sample, { backend: nodeBackend() });
    expect(results.every((result) => result.ok && result.flags.length === 0)).toBe(true);
    const read = await readKeyExport(file, 'right', { backend: nodeBackend() });
    expect(read.map((result) => result.ok && result.session)).toEqual(sample);
    expect(Math.max(...file.split('\n').map((line) => line.length))).toBe(96);
  });

  test('writes the default of 500,000 rounds, version 1 and an IV with bit 63 zero', async () => {
    for (let i = 0; i < 4; i++) {
      const { file } = await write([], i === 0 ? { iterations: undefined } : {});
      const body = Buffer.from(file.split('\n').slice(1, -2).join(''), 'base64');
      expect(body[0]).toBe(1);
      expect(body[17 + 8] & 0x80).toBe(0);
      expect(body.readUInt32BE(33)).toBe(i === 0 ? 500_000 : 100_000);
    }
  });

  test('takes another salt and another IV every time', async () => {
    const heads = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const { file } = await write([]);
        return Buffer.from(file.split('\n').slice(1, -2).join(''), 'base64').toString('hex');
      }),
    );
    for (const head of heads) expect(Number.parseInt(head[50], 16)).toBeLessThan(8);
    expect(new Set(heads.map((head) => head.slice(2, 34))).size).toBe(4);
    expect(new Set(heads.map((head) => head.slice(34, 66))).size).toBe(4);
  });

  test('gives no end of the file when aborted at the last session', async () => {
    const abort = new AbortController();
    function* sessions() {
      yield* few;
      abort.abort();
    }
    let file = '';
    const pieces = writeKeyExport(sessions(), 'right', {
      backend,
      iterations: 100_000,
      signal: abort.signal,
    });
    const writing = (async () => {
      for await (const piece of pieces) file += piece;
    })();
    await expect(writing).rejects.toMatchObject({ code: 'aborted' });
    expect(file).not.toContain('END MEGOLM');
  });

  test('can be aborted while the next session does not come, and tells the input to end', async () => {
    const abort = new AbortController();
    let ended = 0;
    const hanging: AsyncIterable<unknown> = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          setTimeout(() => {
            abort.abort();
          });
          return new Promise(() => undefined);
        },
        return: () => {
          ended++;
          return Promise.reject(new Error('no listener'));
        },
      }),
    };
    const pieces = writeKeyExport(hanging, 'right', { backend, iterations: 100_000, signal: abort.signal });
    expect((await rejection(pieces.next())).code).toBe('aborted');
    expect(ended).toBe(1);
  });

  test('takes an async iterable of nothing', async () => {
    async function* none() {
      // nothing
    }
    let file = '';
    const options = { backend, iterations: 100_000 };
    for await (const piece of writeKeyExport(none(), 'right', options)) file += piece;
    expect(await readKeyExport(file, 'right', { backend })).toEqual([]);
  });

  test('can be aborted in the middle', async () => {
    const abort = new AbortController();
    async function* slowly() {
      for (const session of sample) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        yield session;
        abort.abort();
      }
    }
    const pieces = writeKeyExport(slowly(), 'right', { backend, iterations: 100_000, signal: abort.signal });
    await expect(
      (async () => {
        for await (const piece of pieces) expect(piece).toBeTypeOf('string');
      })(),
    ).rejects.toMatchObject({ code: 'aborted' });
  });
});

/** Bytes that are the y of no point. */
const NO_POINT = Buffer.from([2, ...new Uint8Array(31)])
  .toString('base64')
  .replace('=', '');

const [first, second] = few;
const sessionKeyOfNoPoint = Buffer.concat([
  Buffer.from(first.session_key, 'base64').subarray(0, 133),
  Buffer.from(NO_POINT, 'base64'),
]).toString('base64');

function without(name: string) {
  return Object.fromEntries(Object.entries(first).filter(([field]) => field !== name));
}

describe('the strictest importer', () => {
  beforeAll(async () => {
    await Sdk.initAsync();
  });

  async function imports(sessions: unknown): Promise<number | string> {
    const machine = await Sdk.OlmMachine.initialize(new Sdk.UserId('@r:example.org'), new Sdk.DeviceId('R'));
    try {
      const result = await machine.importExportedRoomKeys(JSON.stringify(sessions), () => undefined);
      return result.importedCount;
    } catch {
      return 'refused';
    } finally {
      machine.close();
    }
  }

  /** What the writer would put into the file. */
  function prepared(entries: unknown[]) {
    const results = entries.map((entry) => {
      try {
        return { ok: true as const, ...prepareExportedSession(entry) };
      } catch (error) {
        return { ok: false as const, error: wellSaid(error) };
      }
    });
    return { results, sessions: results.flatMap((result) => (result.ok ? [result.session] : [])) };
  }

  /** All rounds. */
  const all = { backend: nodeBackend() };

  async function importsFile(file: string): Promise<number | string> {
    return imports(JSON.parse(Sdk.OlmMachine.decryptExportedRoomKeys(file, 'right')));
  }

  const broken: [string, unknown, string][] = [
    ['no object', null, 'bad-json'],
    ['no sender key', without('sender_key'), 'missing-field'],
    ['no room id', without('room_id'), 'missing-field'],
    ['no session id', without('session_id'), 'missing-field'],
    ['no session key', without('session_key'), 'missing-field'],
    ['no algorithm', without('algorithm'), 'missing-field'],
    ['an empty sender key', { ...first, sender_key: '' }, 'bad-length'],
    ['a sender key of 31 bytes', { ...first, sender_key: 'A'.repeat(42) }, 'bad-length'],
    ['a URL-safe sender key', { ...first, sender_key: `-_${first.sender_key!.slice(2)}` }, 'bad-base64'],
    ['a sender key that is a number', { ...first, sender_key: 5 }, 'bad-json'],
    ['a room id without !', { ...first, room_id: 'room:example.org' }, 'bad-json'],
    ['an empty room id', { ...first, room_id: '' }, 'bad-json'],
    ['a room alias', { ...first, room_id: '#room:example.org' }, 'bad-json'],
    ['a room id with U+0000', { ...first, room_id: '!a\0b:example.org' }, 'bad-json'],
    ['a room id with a lone surrogate', { ...first, room_id: '!\ud800:example.org' }, 'bad-json'],
    ['a short session key', { ...first, session_key: 'AAAA' }, 'bad-session-key'],
    [
      'a session key that holds no point',
      { ...first, session_key: sessionKeyOfNoPoint, session_id: NO_POINT },
      'bad-session-key',
    ],
  ];

  test.each(broken)('%s: it refuses the file, so the entry is left out', async (_, entry, code) => {
    expect(await imports([entry, second])).toBe('refused');
    const { sessions, results } = prepared([entry, second]);
    expect(results[0]).toMatchObject({ ok: false, error: { code } });
    expect(await imports(sessions)).toBe(1);
  });

  test.each<[string, unknown, string]>([
    ['another algorithm', { ...first, algorithm: 'm.megolm.v9' }, 'unsupported-algorithm'],
    ['the session id of another', { ...first, session_id: second.session_id }, 'session-id-mismatch'],
  ])('%s: it takes or skips it silently, we leave it out', async (_, entry, code) => {
    expect(await imports([entry, second])).not.toBe('refused');
    const { sessions, results } = prepared([entry, second]);
    expect(results[0]).toMatchObject({ ok: false, error: { code } });
    expect(await imports(sessions)).toBe(1);
  });

  const key = first.sender_key!;
  const trailingBits = `${key.slice(0, -1)}${next(key.at(-1)!)}`;
  const mended: [string, unknown, string][] = [
    [
      'a claimed key that is no point',
      { ...first, sender_claimed_keys: { ed25519: NO_POINT } },
      'unusable-claimed-key',
    ],
    ['an empty claimed key', { ...first, sender_claimed_keys: { ed25519: '' } }, 'unusable-claimed-key'],
    [
      'a claimed key that is a number',
      { ...first, sender_claimed_keys: { ed25519: 5 } },
      'unusable-claimed-key',
    ],
    ['claimed keys that are a string', { ...first, sender_claimed_keys: 'x' }, 'unusable-claimed-key'],
    [
      'a forwarding key of no length',
      { ...first, forwarding_curve25519_key_chain: [''] },
      'unusable-forwarding-chain',
    ],
    [
      'a chain that is null',
      { ...first, forwarding_curve25519_key_chain: null },
      'unusable-forwarding-chain',
    ],
    [
      'a shared_history that is text',
      { ...first, 'm.shared_history': 'x', shared_history: undefined },
      'bad-shared-history',
    ],
    [
      'two spellings of shared_history',
      { ...first, 'm.shared_history': true, 'org.matrix.msc3061.shared_history': true },
      '',
    ],
    ['set bits behind the sender key', { ...first, sender_key: trailingBits }, ''],
    ['an unknown name that is no Unicode', { ...first, 'a\ud800': 1 }, 'unknown-fields-dropped'],
  ];

  test.each(mended)('%s: it refuses the file, so the entry is mended', async (_, entry, flags) => {
    expect(await imports([entry, second])).toBe('refused');
    const { sessions, results } = prepared([entry, second]);
    expect(results[0]).toMatchObject({ ok: true, flags: flags === '' ? [] : [flags] });
    expect(await imports(sessions)).toBe(2);
  });

  test('takes a file from which a broken entry was left out', async () => {
    const { file, results } = await write([null, second, { ...first, sender_key: '' }], all);
    expect(results.map(({ ok, index }) => [ok, index])).toEqual([
      [false, 0],
      [true, 1],
      [false, 2],
    ]);
    expect(await importsFile(file)).toBe(1);
  });

  test('takes one file into which everything went that it would have refused', async () => {
    // Every mended entry is another session, or they would count as one.
    const others = mended.map(([, entry], i) => {
      const changes = Object.entries(entry as object).filter(([name, value]) => value !== first[name]);
      return { ...sample[10 + i], ...Object.fromEntries(changes) };
    });
    const { file, results } = await write([...broken.map(([, entry]) => entry), ...others, second], all);
    expect(results.map((result) => (result.ok ? 'in' : result.error.code))).toEqual([
      ...broken.map(([, , code]) => code),
      ...mended.map(() => 'in'),
      'in',
    ]);
    expect(await importsFile(file)).toBe(mended.length + 1);
  });

  test('takes whole files of ours', async () => {
    const { file } = await write(sample, all);
    expect(await importsFile(file)).toBe(1000);
  });

  test('takes whatever the writer lets through', async () => {
    const odd = fc.constantFrom<unknown>(
      undefined,
      null,
      '',
      'x',
      '!',
      NO_POINT,
      trailingBits,
      5,
      {},
      [],
      ['x'],
      [key],
      { ed25519: key },
      true,
      '\ud800',
    );
    const fields = [
      ...Object.keys(first),
      'shared_history',
      'm.shared_history',
      'org.matrix.msc3061.shared_history',
      'x',
      '__proto__',
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...fields), odd), { maxLength: 3 }),
        async (changes) => {
          const entry = Object.fromEntries([...Object.entries(first), ...changes]);
          const { sessions, results } = prepared([entry, second]);
          expect(await imports(sessions)).toBe(results.filter(({ ok }) => ok).length);
        },
      ),
      { numRuns: runs(300) },
    );
  });

  test('writes files that we read, whatever is in the passphrase', async () => {
    for (const passphrase of ['right', ' spaces ', 'pässwörd', '🔑', 'nul\0nul', 'x'.repeat(300)]) {
      const file = Sdk.OlmMachine.encryptExportedRoomKeys(JSON.stringify(few), passphrase, 1000);
      const results = await readKeyExport(file, passphrase);
      expect(results.map((result) => result.ok && result.session.session_key)).toEqual(
        few.map(({ session_key }) => session_key),
      );
    }
  });

  test('exports its own store so that we read it', async () => {
    const machine = await Sdk.OlmMachine.initialize(new Sdk.UserId('@r:example.org'), new Sdk.DeviceId('R'));
    await machine.importExportedRoomKeys(JSON.stringify(sample), () => undefined);
    const exported = await machine.exportRoomKeys(() => true);
    machine.close();
    const file = Sdk.OlmMachine.encryptExportedRoomKeys(exported, 'right', 1000);
    const results = await readKeyExport(file, 'right');
    expect(results.filter((result) => result.ok && result.flags.length === 0)).toHaveLength(1000);
  });
});

/** The base64 symbol after this one: the same bytes, other bits behind them. */
function next(symbol: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  return alphabet[alphabet.indexOf(symbol) | 1] === symbol
    ? alphabet[(alphabet.indexOf(symbol) ^ 1) | 2]
    : alphabet[alphabet.indexOf(symbol) | 1];
}

import { describe, expect, it, test } from 'vitest';
import {
  Report,
  authenticityCountsText,
  flagsOf,
  noAuthenticity,
  rooted,
  type Place,
} from '../../src/report/report.js';
import { KeyBackupError } from '../../src/errors.js';

const PLACE: Place = { room_id: '!r:x', session_id: 's', path: 'rooms' };
const NOWHERE: Place = { room_id: undefined, session_id: undefined, path: '[3]' };

const failure = (code: string) => new KeyBackupError(code as 'bad-json', `what ${code} says`);

test('a report of nothing is whole', () => {
  const report = new Report();
  expect(JSON.parse(report.json)).toEqual({
    format: 'megolm-backup-report/1',
    total: 0,
    ok: 0,
    failed: 0,
    flagged: 0,
    authenticity: { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 },
    keys: [],
  });
  expect(report.text).toBe('0 of 0 keys; 0 failed\n');
  expect(report.authenticityText).toBe('');
  expect(report.exitCode).toBe(0);
});

describe('a key that came out', () => {
  it('is counted, and not listed', () => {
    const report = new Report();
    report.succeeded(PLACE);
    report.succeeded(PLACE, [], 'no-mac');
    report.succeeded(PLACE, [], 'verified');
    expect(report.summary).toEqual({ total: 3, ok: 3, failed: 0, flagged: 0 });
    expect(report.authenticity).toEqual({
      verified: 1,
      'declared-unauthenticated': 0,
      'wrong-mac': 0,
      'no-mac': 1,
    });
    expect(JSON.parse(report.json)).toMatchObject({ total: 3, keys: [] });
    expect(report.exitCode).toBe(0);
  });

  it('is listed when something was overlooked, with no code and no authenticity unless asked for', () => {
    const report = new Report();
    report.succeeded(PLACE, ['bad-padding']);
    expect(JSON.parse(report.json)).toMatchObject({
      flagged: 1,
      keys: [
        {
          room_id: '!r:x',
          session_id: 's',
          path: '$.rooms',
          reason: 'malformed: bad-padding',
          flags: ['bad-padding'],
        },
      ],
    });
    expect(report.json).not.toMatch(/"code"|"authenticity":"/);
    expect(report.text).toBe('1 of 1 keys, 1 of them flagged; 0 failed\n');
    expect(report.exitCode).toBe(0);
  });

  it('with a wrong backup_mac is flagged, and the command fails', () => {
    const report = new Report();
    report.succeeded(PLACE, [], 'wrong-mac');
    expect(JSON.parse(report.json)).toMatchObject({
      flagged: 1,
      keys: [{ flags: ['wrong-mac'], authenticity: 'wrong-mac' }],
    });
    expect(report.authenticityText).toContain('1 wrong-mac');
    expect(report.exitCode).toBe(1);
  });
});

describe('a key that failed', () => {
  it('is listed with its one reason, and told at once', () => {
    const told: [Place, string][] = [];
    const report = new Report((place, { code }) => told.push([place, code]));
    const error = failure('mac-mismatch');
    report.refused(NOWHERE, error);
    expect(told).toEqual([[NOWHERE, 'mac-mismatch']]);
    expect(JSON.parse(report.json)).toMatchObject({
      total: 1,
      ok: 0,
      failed: 1,
      keys: [
        {
          room_id: null,
          session_id: null,
          path: '$[3]',
          code: 'mac-mismatch',
          reason: 'what mac-mismatch says',
          flags: [],
        },
      ],
    });
    expect(report.exitCode).toBe(1);
  });

  it('is counted by its code', () => {
    const report = new Report();
    for (const code of ['bad-padding', 'bad-json', 'bad-padding']) report.refused(PLACE, failure(code));
    report.succeeded(PLACE);
    expect(report.text).toBe('1 of 4 keys; 3 failed\n  2 bad-padding\n  1 bad-json\n');
  });

  it('may be salvageable, by its code and its field', () => {
    const report = new Report();
    for (const code of ['bad-mac-length', 'mac-mismatch', 'bad-padding', 'bad-padding']) {
      report.refused(PLACE, failure(code));
    }
    for (const field of ['plaintext.sender_key', 'plaintext.session_key', 'key_backup_data.session_data']) {
      report.refused(PLACE, new KeyBackupError('missing-field', `${field}: expected it, got nothing`));
    }
    expect([...report.salvageable]).toEqual([
      ['bad-mac-length', 1],
      ['bad-padding', 2],
      ['missing-field', 1],
    ]);
  });

  it('may be the end of the input, and then the text says how much was read', () => {
    const report = new Report();
    report.succeeded(PLACE);
    expect(report.text).toBe('1 of 1 keys; 0 failed\n');
    report.refused(PLACE, new KeyBackupError('truncated', 'the file ends early'));
    expect(report.text).toBe('1 of 2 keys; 1 failed\n  1 truncated\nthe file ends early: 1 keys recovered\n');
  });
});

test('the lines can be taken away one by one, and make the same file with the head and the tail', () => {
  const lines: string[] = [];
  const [here, there] = [new Report(), new Report(undefined, (line) => lines.push(line))];
  for (const report of [here, there]) {
    report.refused(PLACE, failure('bad-json'));
    report.succeeded(NOWHERE, ['bad-padding'], 'no-mac');
  }
  expect(`${there.head}${lines.join(',\n')}${Report.TAIL}`).toBe(here.json);
  expect(JSON.parse(there.json)).toMatchObject({ total: 2, keys: [] });
  expect(here.json.split('\n')).toHaveLength(5);
});

test.each([
  ['', '$'],
  ['[0]', '$[0]'],
  ['rooms["!r:x"]', '$.rooms["!r:x"]'],
  ['a[0]', '$.a[0]'],
])('the path %j is rooted as %j', (path, expected) => {
  expect(rooted(path)).toBe(expected);
});

test('counts start at zero, in a new object each time', () => {
  const counts = noAuthenticity();
  expect(counts).toEqual({ verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 });
  expect(noAuthenticity()).not.toBe(counts);
});

test('a wrong backup_mac is a flag, and no other authenticity is', () => {
  expect(flagsOf(['bad-padding'], 'wrong-mac')).toEqual(['bad-padding', 'wrong-mac']);
  for (const authenticity of ['verified', 'no-mac', 'declared-unauthenticated', undefined] as const) {
    expect(flagsOf(['bad-padding'], authenticity)).toEqual(['bad-padding']);
  }
});

test.each<[readonly string[], 'wrong-mac' | undefined, string]>([
  [['bad-padding', 'missing-field'], undefined, 'malformed: bad-padding, missing-field'],
  [
    ['unusable-sender-key', 'unreadable-by-others'],
    undefined,
    'malformed: unusable-sender-key; other implementations cannot read this record',
  ],
  [[], 'wrong-mac', 'its backup_mac is wrong: somebody without the key wrote it'],
  [
    ['bad-padding'],
    'wrong-mac',
    'malformed: bad-padding; its backup_mac is wrong: somebody without the key wrote it',
  ],
])('a key with the flags %j and authenticity %s is listed with its reason', (flags, authenticity, reason) => {
  const report = new Report();
  report.succeeded(PLACE, flags, authenticity);
  expect(JSON.parse(report.json)).toMatchObject({ keys: [{ reason }] });
});

describe('the counts for people', () => {
  /** A report with `counts` keys of each authenticity. */
  function reportOf(counts: Partial<ReturnType<typeof noAuthenticity>>): Report {
    const report = new Report();
    for (const [name, count] of Object.entries(counts)) {
      for (let i = 0; i < count; i++) report.succeeded(PLACE, [], name as keyof typeof counts);
    }
    return report;
  }

  it('are empty if no key has a backup_mac', () => {
    for (const counts of [{}, { 'no-mac': 7 }]) {
      const report = reportOf(counts);
      expect(authenticityCountsText(report.authenticity)).toBe('');
      expect(report.authenticityText).toBe('');
    }
  });

  it('leave out zeros, and warn about wrong MACs', () => {
    const fine = reportOf({ verified: 3, 'no-mac': 7 });
    expect(authenticityCountsText(fine.authenticity)).toBe('authenticity: 3 verified, 7 no-mac\n');
    expect(fine.authenticityText).toBe('authenticity: 3 verified, 7 no-mac\n');
    const wrong = reportOf({ 'wrong-mac': 2 });
    expect(authenticityCountsText(wrong.authenticity)).toBe('authenticity: 2 wrong-mac\n');
    expect(wrong.authenticityText).toBe(
      'authenticity: 2 wrong-mac\n2 keys carry a wrong backup_mac: somebody without the key wrote them\n',
    );
  });
});

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';

interface VectorCase {
  id: string;
  comment: string;
  flags: string[];
  result: 'valid' | 'invalid';
  code?: string;
  check?: string;
  operation?: string;
  mode?: string;
  expected_flags?: string[];
  [field: string]: unknown;
}

interface VectorFile {
  format: string;
  kind: string;
  origin: { name: string; version: string };
  notes: Record<string, string>;
  cases: VectorCase[];
}

const DIRECTORY = fileURLToPath(new URL('../../vectors/', import.meta.url));
const NOT_VECTORS = new Set(['schema.json', 'sample-export.json']);

async function json(name: string): Promise<unknown> {
  return JSON.parse(await readFile(join(DIRECTORY, name), 'utf8'));
}

const names = (await readdir(DIRECTORY)).filter((name) => name.endsWith('.json') && !NOT_VECTORS.has(name));
const files = new Map(
  await Promise.all(names.map(async (name) => [name, (await json(name)) as VectorFile] as const)),
);
const validate = new Ajv({ strict: true }).compile((await json('schema.json')) as object);

function casesOf(name: string): VectorCase[] {
  return files.get(name)!.cases;
}

function casesOfKind(kind: string): VectorCase[] {
  return [...files.values()].filter((file) => file.kind === kind).flatMap(({ cases }) => cases);
}

describe('every vector file', () => {
  it('is one of those that the README lists', async () => {
    const readme = await readFile(join(DIRECTORY, 'README.md'), 'utf8');
    const listed = [...readme.matchAll(/^\| `([a-z0-9.-]+\.json)` \|/gm)].map(([, name]) => name);
    expect([...names, 'sample-export.json'].sort()).toEqual(listed.sort());
  });

  it.each(names)('%s: fits the schema', (name) => {
    const valid = validate(files.get(name));
    expect(validate.errors ?? []).toEqual([]);
    expect(valid).toBe(true);
  });

  it.each(names)('%s: ids are unique, flags are explained and nothing else is', (name) => {
    const { cases, notes } = files.get(name)!;
    expect(new Set(cases.map(({ id }) => id)).size).toBe(cases.length);
    expect(Object.keys(notes).sort()).toEqual([...new Set(cases.flatMap(({ flags }) => flags))].sort());
  });

  it.each(names)('%s: strict reading overlooks nothing that salvage is for', (name) => {
    const overlooked = casesOf(name)
      .filter(({ mode }) => mode === 'strict')
      .flatMap(({ expected_flags }) => expected_flags ?? []);
    const always = ['bad-shared-history', 'missing-sender-claimed-keys'];
    expect(overlooked.filter((flag) => !always.includes(flag))).toEqual([]);
  });
});

describe('the schema', () => {
  const right = files.get('session-data.libolm.json')!;
  const refused: [string, (file: VectorFile) => void][] = [
    ['another format', (file) => (file.format = 'megolm-backup-vectors/2')],
    ['an unknown kind', (file) => (file.kind = 'unknown')],
    ['cases of another kind', (file) => (file.kind = 'ed25519')],
    ['no cases', (file) => (file.cases = [])],
    ['a field too many', (file) => (file.cases[0].more = 1)],
    ['a valid case without its expectation', (file) => delete file.cases[0].plaintext],
    ['a valid case with a code', (file) => (file.cases[0].code = 'mac-mismatch')],
    ['an invalid case with an expectation', (file) => (file.cases[0].result = 'invalid')],
    ['an unknown mode', (file) => (file.cases[0].mode = 'lax')],
    ['an unknown salvage flag', (file) => (file.cases[0].expected_flags = ['anything'])],
    ['padded base64', (file) => (file.cases[0].plaintext = 'AA==')],
    ['a case without an id', (file) => delete (file.cases[0] as Partial<VectorCase>).id],
  ];

  it.each(refused)('refuses %s', (_, spoil) => {
    const file = structuredClone({ ...right, cases: right.cases.slice(0, 1) });
    expect(validate(file)).toBe(true);
    spoil(file);
    expect(validate(file)).toBe(false);
  });
});

describe('coverage of session_data', () => {
  it.each(['session-data.libolm.json', 'session-data.vodozemac.json'])('%s', (name) => {
    const cases = casesOf(name);
    expect(cases.length).toBeGreaterThanOrEqual(100);
    const lengths = cases.map(({ plaintext }) => Buffer.from(plaintext as string, 'base64').length);
    expect(Math.min(...lengths)).toBe(0);
    expect(Math.max(...lengths)).toBe(65_536);
    expect(new Set(lengths.map((length) => 16 - (length % 16))).size).toBe(16);
    expect(cases.filter(({ flags }) => flags.includes('unicode')).length).toBeGreaterThanOrEqual(20);
  });

  it('reaches every code in both modes, and every salvage flag', () => {
    const cases = casesOf('session-data.invalid.json');
    const codes = [
      'mac-mismatch',
      'bad-mac-length',
      'bad-base64',
      'bad-length',
      'bad-padding',
      'bad-ciphertext-length',
      'low-order-key',
      'bad-json',
      'missing-field',
    ];
    for (const mode of ['strict', 'salvage']) {
      const reached = cases.filter((one) => one.mode === mode).map(({ code }) => code);
      expect(reached).toEqual(expect.arrayContaining(codes));
    }
    const flags = cases.filter(({ mode }) => mode === 'salvage').flatMap((one) => one.expected_flags ?? []);
    expect([...new Set(flags)].sort()).toEqual(['mac-length', 'padding']);
  });

  it('has every fault for each of the three fields', () => {
    const ids = casesOf('session-data.invalid.json').map(({ id }) => id);
    for (const field of ['ephemeral', 'ciphertext', 'mac']) {
      for (const fault of ['url-safe', 'space', 'junk', 'over-padded', 'null', 'missing']) {
        expect(ids).toContain(`${field}-${fault}`);
      }
    }
  });

  it('has all seven points of small order, with and without bit 255, to read from and to write to', () => {
    const lowOrder = casesOf('session-data.invalid.json').filter(({ code }) => code === 'low-order-key');
    const read = lowOrder.map(
      ({ session_data }) => (session_data as { ephemeral: string } | undefined)?.ephemeral,
    );
    const written = lowOrder.map(({ public_key }) => public_key);
    expect(new Set(read.filter(Boolean)).size).toBe(14);
    expect(new Set(written.filter(Boolean)).size).toBe(14);
  });
});

describe('coverage of the other kinds', () => {
  it('room keys: every code in both modes, every salvage flag, several indexes, all spellings', () => {
    const cases = casesOfKind('room-key');
    const codes = [
      'bad-utf8',
      'bad-json',
      'missing-field',
      'bad-session-key',
      'session-id-mismatch',
      'unsupported-algorithm',
      'mac-mismatch',
      'bad-mac-length',
      'bad-padding',
    ];
    const strict = cases.filter(({ mode }) => mode === 'strict').map(({ code }) => code);
    const salvage = cases.filter(({ mode }) => mode === 'salvage').map(({ code }) => code);
    expect(strict).toEqual(expect.arrayContaining(codes));
    // What these two codes refuse is what salvage reads.
    expect(salvage).toEqual(expect.arrayContaining(codes.slice(0, -2)));
    const flags = cases.flatMap(({ expected_flags }) => expected_flags ?? []);
    expect([...new Set(flags)].sort()).toEqual([
      'bad-shared-history',
      'mac-length',
      'missing-sender-claimed-keys',
      'missing-sender-key',
      'padding',
    ]);
    const indexes = casesOf('room-key.libolm.json').map(({ key_backup_data: record }) => {
      return (record as { first_message_index: number } | undefined)?.first_message_index;
    });
    expect(indexes).toEqual(expect.arrayContaining([0, 1, 255, 256, 65_535, 65_536, 2 ** 32 - 1]));
    const encrypted = cases.filter(({ operation }) => operation === 'encrypt');
    for (const spelling of ['shared_history', 'm.shared_history', 'org.matrix.msc3061.shared_history']) {
      const values = encrypted.map(
        ({ exported }) => (exported as Record<string, unknown> | null)?.[spelling],
      );
      expect(values).toEqual(expect.arrayContaining([true, false]));
    }
    expect(JSON.stringify(cases.map(({ backed_up }) => backed_up))).not.toContain('msc3061');
  });

  it('recovery keys: all four checks', () => {
    const checks = new Set(casesOfKind('recovery-key').map(({ check }) => check));
    expect([...checks].filter(Boolean).sort()).toEqual(['alphabet', 'length', 'parity', 'prefix']);
  });

  it('auth_data: every state, every ground of trust', () => {
    const verdicts = casesOfKind('auth-data').filter(({ operation }) => operation === 'verify');
    const states = new Set(verdicts.flatMap((one) => Object.values(one.states as Record<string, string>)));
    expect([...states].sort()).toEqual(['invalid', 'missing', 'valid-trusted', 'valid-untrusted']);
    expect(new Set(verdicts.map(({ by }) => by))).toEqual(new Set(['decryption-key', 'signature', null]));
    for (const { trusted, by } of verdicts) expect(trusted).toBe(by !== null);
  });

  it('backup_mac: every verdict, every source, every refusal, both names', () => {
    const cases = casesOfKind('backup-mac');
    const valuesOf = (field: string) => new Set(cases.map((one) => one[field]).filter(Boolean));
    expect([...valuesOf('state')].sort()).toEqual(['no-mac', 'right', 'wrong-mac']);
    expect(valuesOf('authenticity').size).toBe(4);
    expect([...valuesOf('source')].sort()).toEqual(['m.forwarded_room_key', 'm.legacy-v1', 'm.undefined']);
    const codes = ['bad-canonical-json', 'not-authenticated', 'room-id-mismatch'];
    expect([...valuesOf('code')].sort()).toEqual(codes);
    for (const { authenticated, authenticity } of cases) {
      if (authenticity !== undefined) expect(authenticated).toBe(authenticity === 'verified');
    }
    expect(JSON.stringify(cases)).toContain('"org.matrix.msc4048.backup_mac"');
    expect(JSON.stringify(cases)).toContain('"backup_mac"');
  });

  it('canonical JSON: every control character in values and in keys; inputs are JSON', () => {
    const cases = casesOfKind('canonical-json');
    const ids = new Set(cases.map(({ id }) => id));
    for (let code = 0; code < 32; code++) {
      const hex = code.toString(16).padStart(4, '0');
      expect(ids).toContain(`control-${hex}`);
      expect(ids).toContain(`control-${hex}-key`);
    }
    for (const { input_json, expected } of cases) {
      expect(() => JSON.parse(input_json as string) as unknown).not.toThrow();
      if (expected !== undefined) {
        expect(JSON.parse(expected as string)).toEqual(JSON.parse(input_json as string, noMinusZero));
      }
    }
  });

  it('every kind has cases that must be refused, except where nothing can be', () => {
    const kinds = [...new Set([...files.values()].map(({ kind }) => kind))];
    const refusing = kinds.filter((kind) => casesOfKind(kind).some(({ result }) => result === 'invalid'));
    expect(kinds.filter((kind) => !refusing.includes(kind)).sort()).toEqual(['hkdf-sha256', 'hmac-sha256']);
  });
});

function noMinusZero(_: string, value: unknown): unknown {
  return Object.is(value, -0) ? 0 : value;
}

describe('the sample export', async () => {
  const text = await readFile(join(DIRECTORY, 'sample-export.json'), 'utf8');
  const sessions = JSON.parse(text) as {
    algorithm: string;
    forwarding_curve25519_key_chain: string[];
    room_id: string;
    sender_claimed_keys: { ed25519: string };
    sender_key: string;
    session_id: string;
    session_key: string;
    shared_history?: boolean;
  }[];

  it('has 1,000 different sessions in 50 rooms, one a line', () => {
    expect(sessions).toHaveLength(1000);
    expect(new Set(sessions.map(({ session_id }) => session_id)).size).toBe(1000);
    expect(new Set(sessions.map(({ room_id }) => room_id)).size).toBe(50);
    expect(text.split('\n')).toHaveLength(1003);
  });

  it('has the session id of every session inside its session key', () => {
    for (const { session_id, session_key } of sessions) {
      const bytes = Buffer.from(session_key, 'base64');
      expect([bytes.length, bytes[0]]).toEqual([165, 1]);
      expect(bytes.subarray(133).toString('base64').replace(/=+$/, '')).toBe(session_id);
    }
  });

  it('is as varied as the wild', () => {
    const indexes = sessions.map(({ session_key }) => Buffer.from(session_key, 'base64').readUInt32BE(1));
    expect(new Set(indexes).size).toBeGreaterThan(5);
    const chains = sessions.map(({ forwarding_curve25519_key_chain: chain }) => chain.length);
    expect(new Set(chains)).toEqual(new Set([0, 1, 2]));
    expect(new Set(sessions.map(({ shared_history }) => shared_history))).toEqual(
      new Set([undefined, true, false]),
    );
    const rooms = [...new Set(sessions.map(({ room_id }) => room_id))];
    expect(rooms.every((id) => id.startsWith('!'))).toBe(true);
    expect(rooms.some((id) => !id.includes(':'))).toBe(true);
    expect(rooms.some((id) => /[^\u0000-\u007f]/.test(id))).toBe(true);
  });
});

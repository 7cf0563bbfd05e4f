import { expect, test } from 'vitest';
import { defineCommand } from '../../src/cli/command.js';
import type { Terminal } from '../../src/cli/terminal.js';

const command = defineCommand({
  name: 'try',
  summary: 'try',
  description: 'Tries.',
  options: {
    'max-keys': { value: 'N', required: true, help: 'how many' },
    dev: { help: 'a flag' },
    secret: { value: 'TEXT', help: 'not from the environment' },
    db: { value: 'FILE', help: 'a file' },
  },
  environment: ['max-keys', 'dev', 'db'],
  exitCodes: '0',
  example: 'megolm-backup try',
  run: (values, terminal) => {
    terminal.stdout(JSON.stringify(values));
    return 0;
  },
});

/** The values of a command line, or the message that refuses it. */
async function run(env: Record<string, string>, ...args: string[]): Promise<unknown> {
  let out = '';
  const terminal = { env, stdout: (text: string) => (out += text) } as unknown as Terminal;
  try {
    await command.run(args, terminal);
  } catch (error) {
    return (error as Error).message;
  }
  return JSON.parse(out) as unknown;
}

test('an option comes from the environment, and the command line takes precedence', async () => {
  const env = { MEGOLM_BACKUP_MAX_KEYS: '5', MEGOLM_BACKUP_DEV: 'true' };
  expect(await run(env)).toEqual({ maxKeys: '5', dev: true });
  expect(await run({ ...env, MEGOLM_BACKUP_DEV: 'false' }, '--max-keys', '6')).toEqual({
    maxKeys: '6',
    dev: false,
  });
});

test('an empty variable gives nothing', async () => {
  const env = { MEGOLM_BACKUP_MAX_KEYS: '', MEGOLM_BACKUP_DEV: '' };
  expect(await run(env)).toBe('missing option: --max-keys N');
});

test('an option that is not named does not come from the environment', async () => {
  const env = { MEGOLM_BACKUP_SECRET: 'x', MEGOLM_BACKUP_MAX_KEYS: '5' };
  expect(await run(env)).toEqual({ maxKeys: '5', dev: false });
});

test.each(['1', 'yes', 'TRUE'])('a flag is not %s', async (value) => {
  const env = { MEGOLM_BACKUP_DEV: value, MEGOLM_BACKUP_MAX_KEYS: '5' };
  expect(await run(env)).toBe(`MEGOLM_BACKUP_DEV: expected true or false, got "${value}"`);
});

test('a mistyped variable is refused, and one that belongs to something else is not', async () => {
  expect(await run({ MEGOLM_BACKUP_MAX_KEY: '5' })).toBe(
    'unknown variable "MEGOLM_BACKUP_MAX_KEY" (did you mean MEGOLM_BACKUP_MAX_KEYS?)',
  );
  const kubernetes = {
    MEGOLM_BACKUP_PORT: 'tcp://10.0.0.1:8009',
    MEGOLM_BACKUP_PORT_8009_TCP: 'tcp://10.0.0.1:8009',
    MEGOLM_BACKUP_PORT_8009_TCP_ADDR: '10.0.0.1',
    MEGOLM_BACKUP_PORT_8009_TCP_PORT: '8009',
    MEGOLM_BACKUP_PORT_8009_TCP_PROTO: 'tcp',
    MEGOLM_BACKUP_SERVICE_HOST: '10.0.0.1',
    MEGOLM_BACKUP_SERVICE_PORT: '8009',
  };
  expect(await run({ ...kubernetes, MEGOLM_BACKUP_MAX_KEYS: '5' })).toEqual({ maxKeys: '5', dev: false });
});

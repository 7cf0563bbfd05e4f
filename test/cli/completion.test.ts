import { execFileSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import type { Command } from '../../src/cli/command.js';
import { Workspace } from './workspace.js';

describe('the completion script', () => {
  let commands: Command[];
  beforeAll(async () => {
    commands = await Promise.all(Object.values(COMMANDS).map(async (load) => (await load()).command));
  });

  async function script(shell: string): Promise<string> {
    const end = await new Workspace().run(['completion', shell]);
    expect(end).toMatchObject({ code: 0, stderr: '' });
    return end.stdout;
  }

  /** What bash offers for the last word. */
  function offered(completion: string, ...words: string[]): string[] {
    const ask =
      'eval "$(cat)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _megolm_backup; echo "${COMPREPLY[@]}"';
    const args = ['-c', ask, 'bash', 'megolm-backup', ...words];
    const found = execFileSync('bash', args, { input: completion, encoding: 'utf8' }).trim();
    return found === '' ? [] : found.split(' ');
  }

  it('of bash is valid, and completes every command and option', async () => {
    const completion = await script('bash');
    execFileSync('bash', ['-n'], { input: completion });
    const names = Object.keys(COMMANDS);
    expect(offered(completion, '')).toEqual([...names, 'help', '--help', '--version']);
    expect(offered(completion, 'help', '')).toEqual(names);
    for (const { name, options } of commands) {
      const wanted = Object.keys(options).map((option) => `--${option}`);
      const words = offered(completion, name, '-').filter((word) => word.startsWith('--'));
      expect(words).toEqual([...wanted, '--help']);
    }
    expect(offered(completion, 'dec')).toEqual(['decrypt']);
    expect(offered(completion, 'keygen', '-o')).toEqual(['-o']);
    expect(offered(completion, 'export', '')).toEqual(['decrypt', 'encrypt']);
    expect(offered(completion, 'export', 'decrypt', '--for')).toEqual(['--force']);
    // Then bash offers the names of files.
    expect(offered(completion, 'decrypt', '')).toEqual([]);
    expect(completion).toContain('complete -o default');
  });

  it.each(['zsh', 'fish'])('of %s has every command and option', async (shell) => {
    const completion = await script(shell);
    for (const { name, options } of commands) {
      const own = completion
        .split('\n')
        .filter((line) => line.includes(shell === 'zsh' ? `:${name}:` : `"${name}"`));
      for (const option of Object.keys(options)) {
        expect(own.join('\n')).toMatch(new RegExp(`${shell === 'zsh' ? '--' : '-l '}${option}( |$)`, 'm'));
      }
      expect(completion).toMatch(new RegExp(`(?:compadd --|-a).* ${name} `));
    }
    // Quotes of the help must not end the text early.
    for (const line of completion.split('\n')) {
      expect(line.replace(/\\./g, '').match(/'/g)?.length ?? 0, line).toSatisfy(
        (count: number) => count % 2 === 0,
      );
    }
  });
});

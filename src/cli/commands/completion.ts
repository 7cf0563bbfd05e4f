import { defineCommand, type Command } from '../command.js';
import { UsageError } from '../errors.js';

const SHELLS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** The command that prints what a shell needs to complete the others. */
export function completionOf(commands: () => Promise<readonly Command[]>): Command {
  return defineCommand({
    name: 'completion',
    summary: 'print a script that completes commands and options in a shell',
    description: `
Prints a script for a shell. Add to ~/.bashrc or ~/.zshrc, with the name of the shell:
  source <(megolm-backup completion bash)
and to ~/.config/fish/config.fish:
  megolm-backup completion fish | source
`,
    arguments: [Object.keys(SHELLS).join('|')],
    options: {},
    exitCodes: 'Exit code 0, or 2 for another shell.',
    example: 'megolm-backup completion bash',
    async run(_options, terminal, shell) {
      if (!Object.hasOwn(SHELLS, shell)) {
        throw new UsageError(`expected one of ${Object.keys(SHELLS).join(', ')}`);
      }
      terminal.stdout(SHELLS[shell as keyof typeof SHELLS](await commands()));
      return 0;
    },
  });
}

function bashScript(commands: readonly Command[]): string {
  return `_megolm_backup() {
  local cur=\${COMP_WORDS[COMP_CWORD]} found=
  case $COMP_CWORD:\${COMP_WORDS[1]}:$cur in
${cases(commands, 1, (words) => `found='${words}'`)}
  esac
  COMPREPLY=($(compgen -W "$found" -- "$cur"))
}
complete -o default -F _megolm_backup megolm-backup
`;
}

function zshScript(commands: readonly Command[]): string {
  return `_megolm_backup() {
  case $CURRENT:$words[2]:$words[CURRENT] in
${cases(commands, 2, (words) => `compadd -- ${words}`)}
    *) _files ;;
  esac
}
compdef _megolm_backup megolm-backup
`;
}

/** Branches by the number of the word, the command, and what is typed of the word. */
function cases(commands: readonly Command[], first: number, offer: (words: string) => string): string {
  const names = commands.map(({ name }) => name).join(' ');
  const branches = [[`${first}:*`, `${names} help --help --version`]];
  for (const { name, options } of commands) {
    const words = Object.entries(options).flatMap(([option, { short }]) => [
      `--${option}`,
      ...(short === undefined ? [] : [`-${short}`]),
    ]);
    branches.push([`*:${name}:-*`, [...words, '--help'].join(' ')]);
  }
  for (const [name, choices] of choicesOf(commands)) branches.push([`${first + 1}:${name}:*`, choices]);
  return branches.map(([pattern, words]) => `    ${pattern}) ${offer(words)} ;;`).join('\n');
}

function fishScript(commands: readonly Command[]): string {
  const lines = commands.map(({ name, summary }) => fishLine('', `-f -a ${name}`, summary));
  lines.push(fishLine('', '-f -a help', 'say more about a command'));
  lines.push(fishLine('', '-l version', 'say which version this is'));
  for (const { name, options } of commands) {
    for (const [option, { value, short, help }] of Object.entries(options)) {
      const names = short === undefined ? `-l ${option}` : `-s ${short} -l ${option}`;
      const isFile = value === 'FILE' || value === 'OUTPUT';
      const takes = value === undefined ? '' : isFile ? ' -r -F' : ' -x';
      lines.push(fishLine(name, names + takes, help));
    }
  }
  for (const [name, choices] of choicesOf(commands)) lines.push(fishLine(name, `-a '${choices}'`, ''));
  return `function __megolm_backup_is
  set -l words (commandline -opc)
  test "$words[2]" = "$argv[1]"
end
${lines.join('\n')}
`;
}

/** A line for the place after a command; after none, for the first word. */
function fishLine(command: string, what: string, description: string): string {
  const text = description.replace(/\s+/g, ' ').replace(/[\\']/g, '\\$&');
  return `complete -c megolm-backup -n '__megolm_backup_is "${command}"' ${what} -d '${text}'`;
}

/** Commands whose first argument is one of a few words. */
function choicesOf(commands: readonly Command[]): [name: string, words: string][] {
  const choices = commands.flatMap(({ name, arguments: [first = ''] }): [string, string][] =>
    first.includes('|') ? [[name, first.replaceAll('|', ' ')]] : [],
  );
  return [...choices, ['help', commands.map(({ name }) => name).join(' ')]];
}

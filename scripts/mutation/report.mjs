// Writes docs/mutation-testing.md from results.json, which run.mjs leaves, and the reasons in survivors.json:
// `node scripts/mutation/report.mjs`. Writes nothing while a survivor has no reason, or a reason no survivor.
import { readFileSync, writeFileSync } from 'node:fs';
import { SOURCES, hashOf, readResults } from './sources.mjs';

const results = readResults();
const reasons = JSON.parse(readFileSync(new URL('survivors.json', import.meta.url), 'utf8'));
const files = SOURCES.filter((file) => results[file]);
const complaints = [];

/** A survivor has the reason that names its line, whatever the number, and its replacement. */
function explained(file) {
  const left = (reasons[file] ?? []).map((entry) => ({ ...entry, replacements: [...entry.replacements] }));
  for (const { line, text, replacement } of results[file].survivors) {
    const entry = left.find((one) => one.line === text && one.replacements.includes(replacement));
    if (!entry) complaints.push(`no reason: ${file}:${line}: ${text} → ${replacement}`);
    else entry.replacements.splice(entry.replacements.indexOf(replacement), 1);
  }
  for (const { line, replacements } of left) {
    for (const replacement of replacements) complaints.push(`no survivor: ${file}: ${line} → ${replacement}`);
  }
  return reasons[file] ?? [];
}

const code = (text) => (text.includes('`') ? `\`\` ${text} \`\`` : `\`${text}\``);
const list = (names) => names.map(code).join(', ');
const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
const sum = (numberOf) => files.reduce((total, file) => total + numberOf(results[file]), 0);

const mutants = sum((row) => row.mutants);
const killed = sum((row) => row.killed);
const endless = sum((row) => row.endless);
const survived = sum((row) => row.survivors.length);
const notRun = SOURCES.filter((file) => !results[file]);
const changed = files.filter((file) => hashOf(file) !== results[file].hash);

const rows = files.map((file) => {
  const row = results[file];
  const score = percent(row.killed + row.endless, row.mutants);
  return `| ${code(file)} | ${row.mutants} | ${row.killed} | ${row.endless} | ${row.survivors.length} | ${score} |`;
});
const sections = files.flatMap((file) => {
  const entries = explained(file);
  if (entries.length === 0) return [];
  const lines = entries.map(
    ({ line, replacements, reason }) => `- ${code(line)} → ${list(replacements)}: ${reason}`,
  );
  return [`### ${code(file)}\n\n${lines.join('\n')}\n`];
});

if (complaints.length > 0) {
  console.error(complaints.join('\n'));
  console.error(`${complaints.length} lines of scripts/mutation/survivors.json to write or to strike out`);
  process.exit(1);
}

const page = `# Mutation testing

A mutation test changes one thing in the source and runs the tests: a change that no test notices survives, and shows
what the tests do not say. The mutants are [Stryker](https://stryker-mutator.io)'s; \`npm run mutation -- FILE\` runs
those of a file. This page is written by \`scripts/mutation/report.mjs\` from the results of that and the reasons in
\`scripts/mutation/survivors.json\`; it cannot be written while a survivor has no reason.

Each file was mutated by itself, and only the test files decided that \`scripts/mutation/tests.mjs\` names for it, with at
most 30 runs a property. The whole test suite can only kill more. A mutant counts as killed when a test fails, or when it
never ends: when a loop turns many times more often than without the mutant.

**${percent(killed + endless, mutants)} of ${mutants} mutants in ${files.length} files killed** (${killed} by a failing test,
${endless} because they do not end), ${survived} survivors.${notRun.length > 0 ? ` ${notRun.length} files of the two folders were not run.` : ''}
${changed.length > 0 ? `\nChanged since it was mutated, so that its row is about an earlier text: ${list(changed)}.\n` : ''}
| File | Mutants | Killed | Endless | Survived | Score |
|---|---:|---:|---:|---:|---:|
${rows.join('\n')}

## Survivors

${sections.join('\n')}${notRun.length > 0 ? `\n## Not run\n\n${list(notRun)}.\n` : ''}`;

writeFileSync(new URL('../../docs/mutation-testing.md', import.meta.url), page);
console.log(
  `docs/mutation-testing.md: ${percent(killed + endless, mutants)} of ${mutants} mutants in ${files.length} files`,
);

// Writes the reference, docs/api, from the doc comments: one folder for each subpath that package.json exports.
//   node scripts/docs.mjs [--out FOLDER]
// What is exported and not documented, linked and not there, or used and not exported, fails it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Application, Converter, ReflectionKind } from 'typedoc';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({ options: { out: { type: 'string', default: `${root}docs/api` } } });
const { name, exports } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));

/** Subpath -> the source of what it exports. */
const faces = new Map(
  Object.entries(exports)
    .filter(([, file]) => file.endsWith('.js'))
    .map(([subpath, file]) => [
      subpath.replace(/^\./, name),
      file.replace(/^\.\/dist\/(.*)\.js$/, `${root}src/$1.ts`),
    ]),
);

const app = await Application.bootstrapWithPlugins({
  plugin: ['typedoc-plugin-markdown'],
  entryPoints: [...faces.values()],
  tsconfig: `${root}tsconfig.build.json`,
  name,
  readme: 'none',
  out: values.out,
  outputFileStrategy: 'modules',
  hideBreadcrumbs: true,
  hidePageHeader: true,
  useCodeBlocks: true,
  parametersFormat: 'table',
  interfacePropertiesFormat: 'table',
  classPropertiesFormat: 'table',
  typeAliasPropertiesFormat: 'table',
  propertyMembersFormat: 'table',
  // Nothing of this machine and of this moment.
  disableGit: true,
  disableSources: true,
  hideGenerator: true,
  excludePrivate: true,
  excludeInternal: true,
  excludeExternals: true,
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
  // A property whose name says it all needs no sentence.
  requiredToBeDocumented: [
    'Module',
    'Class',
    'Interface',
    'TypeAlias',
    'Function',
    'Variable',
    'Method',
    'Accessor',
  ],
  validation: { notExported: true, invalidLink: true, invalidPath: true, notDocumented: true },
});

// Modules are called as one imports them.
app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
  if (!reflection.kindOf(ReflectionKind.Module)) return;
  const file = context.getSymbolFromReflection(reflection)?.declarations?.[0].getSourceFile().fileName;
  for (const [subpath, source] of faces) if (source === file) reflection.name = subpath;
});

// A link in a @throws is looked up in its own module only; a class has one page, in the first module that has it.
app.converter.addUnknownSymbolResolver((reference, from) => {
  const names = reference.symbolReference?.path?.map(({ path }) => path) ?? [];
  const [target] = from.project
    .getReflectionsByKind(ReflectionKind.SomeExport)
    .filter(
      ({ name, parent }) => names.length === 1 && name === names[0] && parent?.kindOf(ReflectionKind.Module),
    );
  return target && { target };
});

const project = await app.convert();
if (project) app.validate(project);
if (!project || app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
await app.generateOutputs(project);
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);

import { posix } from 'node:path';
import { Converter, OptionDefaults, ReflectionKind } from 'typedoc';

/** TypeDoc looks up a link in a `@throws` in its own module only; the error classes are documented in the first. */
function findLinkInAnyModule({ converter }) {
  converter.addUnknownSymbolResolver(({ symbolReference }, from) => {
    const names = symbolReference?.path?.map(({ path }) => path) ?? [];
    const target = from.project
      .getReflectionsByKind(ReflectionKind.SomeExport)
      .find(
        ({ name, parent }) => names.length === 1 && name === names[0] && parent.kindOf(ReflectionKind.Module),
      );
    return target && { target };
  });
}

/** Calls a module what one imports: `megolm-backup/client`. */
function nameModules({ converter }) {
  converter.on(Converter.EVENT_CREATE_DECLARATION, (_, reflection) => {
    if (reflection.kindOf(ReflectionKind.Module))
      reflection.name = posix.join('megolm-backup', reflection.name);
  });
}

/** The entry points are those of package.json. @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  tsconfig: 'tsconfig.build.json',
  out: 'site',
  projectDocuments: ['docs/*.md'],
  highlightLanguages: [...OptionDefaults.highlightLanguages, 'ini', 'nginx', 'sql'],
  plugin: [findLinkInAnyModule, nameModules],
  disableGit: true,
  disableSources: true,
  excludePrivate: true,
  excludeInternal: true,
  excludeExternals: true,
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
  // The name of a property is often enough.
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
};

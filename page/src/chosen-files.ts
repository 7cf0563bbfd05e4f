import { byId, input } from './dom.js';

const files = new Map<string, File>();

/** The files that were chosen or dropped, until they are removed. */
export const chosenFiles = (): File[] => [...files.values()];

export function addFiles(added: Iterable<File>): void {
  for (const file of added) files.set(file.name, file);
  showFiles();
}

function showFiles(): void {
  byId('chosen').replaceChildren(
    ...Array.from(files.values(), ({ name, size }) => {
      const item = document.createElement('li');
      const remove = document.createElement('button');
      remove.type = 'button';
      remove.textContent = 'Remove';
      remove.setAttribute('aria-label', `Remove ${name}`);
      remove.addEventListener('click', () => {
        files.delete(name);
        showFiles();
        input('files').focus();
      });
      item.append(`${name}, ${Math.ceil(size / 1024)} KiB `, remove);
      return item;
    }),
  );
}

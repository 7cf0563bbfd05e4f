import type { Answer, Task } from './messages.js';
import { byId, showResults } from './results.js';

/** The code of the worker, put here by the build: a page of one file has no other place for it. */
declare const WORKER_SOURCE: string;

const form = byId('form') as HTMLFormElement;
const input = (id: string) => byId(id) as HTMLInputElement;
const button = (id: string) => byId(id) as HTMLButtonElement;
const files = new Map<string, File>();
let worker: Worker | undefined;
let started = 0;

function chosen(): string {
  return form.querySelector<HTMLInputElement>('input[name=source]:checked')?.value ?? 'files';
}

function addFiles(added: Iterable<File>): void {
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
        // Or the browser would say nothing when the same file is chosen again.
        input('files').value = '';
        showFiles();
        input('files').focus();
      });
      item.append(`${name}, ${Math.ceil(size / 1024)} KiB `, remove);
      return item;
    }),
  );
}

function start(correct: boolean): void {
  stop();
  // Or what came of the run before would stand there until the worker has begun.
  byId('status').textContent = 'Starting.';
  byId('error').textContent = '';
  byId('rate').textContent = '';
  byId('results').hidden = true;
  button('correct').hidden = true;
  button('start').disabled = true;
  button('cancel').disabled = false;
  started = performance.now();
  const task: Task = {
    source:
      chosen() === 'files'
        ? { kind: 'files', files: [...files.values()] }
        : { kind: 'server', homeserver: input('homeserver').value, token: input('token').value },
    key: input('key').value,
    passphrase: input('passphrase').value,
    salvage: input('salvage').checked,
    requireAuthenticated: input('authenticated').checked,
    correct,
  };
  const url = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: 'text/javascript' }));
  worker = new Worker(url);
  URL.revokeObjectURL(url);
  worker.onmessage = ({ data }: MessageEvent<Answer>) => {
    take(data);
  };
  worker.onerror = () => {
    take({
      kind: 'refused',
      code: 'failed',
      message: 'the work stopped unexpectedly',
      correctable: undefined,
    });
  };
  worker.postMessage(task);
}

/** Ends the work at once, and with it everything that it held in memory. */
function stop(): void {
  worker?.terminate();
  worker = undefined;
  button('start').disabled = false;
  button('cancel').disabled = true;
}

function take(answer: Answer): void {
  const progress = byId('progress') as HTMLProgressElement;
  switch (answer.kind) {
    case 'status':
      byId('status').textContent = answer.text;
      progress.removeAttribute('value');
      break;
    case 'progress':
      if (answer.share !== undefined) progress.value = answer.share;
      byId('rate').textContent = rateOf(answer.keys, answer.share);
      break;
    case 'refused':
      stop();
      progress.value = 0;
      byId('rate').textContent = '';
      byId('status').textContent = 'Stopped.';
      byId('error').textContent = `${answer.code}: ${answer.message}`;
      if (answer.correctable !== undefined) {
        byId('status').textContent = `Something close to it does fit: ${answer.correctable}.`;
        button('correct').hidden = false;
        button('correct').focus();
      }
      break;
    case 'done':
      stop();
      progress.value = 1;
      byId('rate').textContent = '';
      byId('status').textContent = 'Done.';
      showResults(answer);
  }
}

function rateOf(keys: number, share: number | undefined): string {
  const seconds = Math.max((performance.now() - started) / 1000, 0.001);
  const left =
    share === undefined || share === 0 ? '' : `, ${Math.round((seconds * (1 - share)) / share)} s left`;
  return `${keys} keys, ${Math.round(keys / seconds)} a second${left}`;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  start(false);
});
button('correct').addEventListener('click', () => {
  start(true);
});
button('cancel').addEventListener('click', () => {
  stop();
  (byId('progress') as HTMLProgressElement).value = 0;
  byId('rate').textContent = '';
  byId('status').textContent = 'Cancelled. Nothing was kept.';
  button('start').focus();
});
input('files').addEventListener('change', () => {
  addFiles(input('files').files ?? []);
});
input('show').addEventListener('change', () => {
  input('key').type = input('show').checked ? 'text' : 'password';
});
for (const radio of form.querySelectorAll('input[name=source]')) {
  radio.addEventListener('change', () => {
    byId('files-source').hidden = chosen() !== 'files';
    byId('server-source').hidden = chosen() !== 'server';
  });
}
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dropping');
});
document.addEventListener('dragleave', () => {
  document.body.classList.remove('dropping');
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dropping');
  addFiles(event.dataTransfer?.files ?? []);
});

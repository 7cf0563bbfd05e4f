import { addFiles, chosenFiles } from './chosen-files.js';
import { button, byId, input, show } from './dom.js';
import type { KeptRecords, Task } from './messages.js';
import { faultOf, strengthOf } from './passphrase.js';

const form = byId('form') as HTMLFormElement;
const steps = Array.from(form.querySelectorAll<HTMLFieldSetElement>('.step'));
let current = 0;

/** The step with the button that starts. */
export const LAST_STEP = steps.length - 1;

const source = form.elements.namedItem('source') as RadioNodeList;
const fromFiles = () => source.value === 'files';

/** Shows a step of the form, and gives the focus to its first field. */
export function showStep(index: number): void {
  current = index;
  steps.forEach((step, i) => {
    step.hidden = i !== index;
  });
  button('back').hidden = index === 0;
  button('next').textContent = index === LAST_STEP ? 'Recover my keys' : 'Next';
  const fields = steps[index].querySelectorAll<HTMLInputElement>('input:not([type=radio], :disabled)');
  show('form', fields[0]);
}

/** What was entered. */
export function enteredTask(correct: boolean, kept: KeptRecords | undefined): Task {
  return {
    source: fromFiles()
      ? { kind: 'files', files: chosenFiles() }
      : { kind: 'server', homeserver: input('homeserver').value, token: input('token').value, kept },
    key: input('key').value,
    passphrase: input('passphrase').value,
    salvage: input('salvage').checked,
    requireAuthenticated: input('authenticated').checked,
    strict: input('strict').checked,
    correct,
  };
}

/** Whether the current step is filled in; the browser says beside a field what is wrong. */
function isFilledIn(): boolean {
  input('files').setCustomValidity(chosenFiles().length === 0 ? 'Choose the files first.' : '');
  const passphrase = input('passphrase').value;
  input('passphrase').setCustomValidity(passphrase === '' ? '' : faultOf(passphrase));
  input('repeat').setCustomValidity(
    input('repeat').value === passphrase ? '' : 'The two passphrases are not the same.',
  );
  return Array.from(steps[current].querySelectorAll('input')).every((field) => field.reportValidity());
}

/** Makes the form work; `start` is called once it is filled in. */
export function setUpForm(start: () => void): void {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!isFilledIn()) return;
    if (current < LAST_STEP) showStep(current + 1);
    else start();
  });
  button('back').addEventListener('click', () => {
    showStep(current - 1);
  });
  for (const radio of form.querySelectorAll('input[name=source]')) {
    radio.addEventListener('change', chooseSource);
  }
  // Or the browser reports no change when files of the same names are chosen again, whatever is in them now.
  input('files').addEventListener('click', () => {
    input('files').value = '';
  });
  input('files').addEventListener('change', () => {
    addFiles(input('files').files ?? []);
  });
  input('passphrase').addEventListener('input', () => {
    byId('strength').textContent = strengthOf(input('passphrase').value);
  });
  reveal('show-key', 'key');
  reveal('show-passphrase', 'passphrase', 'repeat');
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
    if (form.hidden || current !== 0) return;
    source.value = 'files';
    chooseSource();
    addFiles(event.dataTransfer?.files ?? []);
  });
  chooseSource();
}

/** A field that is not asked for must not hold up the form. */
function chooseSource(): void {
  byId('files-source').hidden = input('files').disabled = !fromFiles();
  byId('server-source').hidden = input('homeserver').disabled = input('token').disabled = fromFiles();
}

function reveal(box: string, ...fields: readonly string[]): void {
  input(box).addEventListener('change', () => {
    for (const field of fields) input(field).type = input(box).checked ? 'text' : 'password';
  });
}

import { adviceFor } from './advice.js';
import { count } from './count.js';
import { button, byId, input, show } from './dom.js';
import { LAST_STEP, enteredTask, setUpForm, showStep } from './form.js';
import type { Answer, KeptRecords, Start } from './messages.js';
import { setUpImporting } from './importing.js';
import { showResults } from './results.js';

/** The code of the worker, put here by the build: a page of one file has no other place for it. */
declare const WORKER_SOURCE: string;

const workerCode = new Blob([WORKER_SOURCE], { type: 'text/javascript' });
const workerUrl = URL.createObjectURL(workerCode);

const progress = byId('progress') as HTMLProgressElement;
const READING = 'Reading the keys.';
let worker: Worker | undefined;
let started = 0;
/** What came before a connection broke. */
let kept: KeptRecords | undefined;

function start(correct = false): void {
  stop();
  byId('status').textContent = 'Starting.';
  byId('rate').textContent = '';
  progress.removeAttribute('value');
  show('work', byId('work-title'));
  started = performance.now();
  worker = new Worker(workerUrl);
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
  worker.postMessage({ task: enteredTask(correct, kept), workerCode } satisfies Start);
}

/** Ends the work at once, and with it everything that it held in memory. */
function stop(): void {
  worker?.terminate();
  worker = undefined;
}

/** Puts the words back after those about a retry. Written again they would be read aloud again. */
function tellReading(): void {
  const status = byId('status');
  if (!status.textContent.endsWith(READING)) status.textContent = READING;
}

function take(answer: Answer): void {
  switch (answer.kind) {
    case 'status':
      byId('status').textContent = answer.text;
      break;
    case 'progress':
      if (answer.share !== undefined) progress.value = answer.share;
      tellReading();
      byId('rate').textContent = rateOf(answer.keys, answer.share);
      break;
    case 'refused': {
      stop();
      const { what, next, mayPass = false } = adviceFor(answer);
      byId('problem-title').textContent = what;
      byId('advice').textContent = next;
      byId('error').textContent = `${answer.code}: ${answer.message}`;
      button('correct').hidden = answer.correctable === undefined;
      button('retry').hidden = !mayPass;
      show('problem', byId('problem-title'));
      break;
    }
    case 'done':
      stop();
      kept = answer.kept;
      showResults(answer);
  }
}

function rateOf(keys: number, share: number | undefined): string {
  const seconds = Math.max((performance.now() - started) / 1000, 0.001);
  const left =
    share === undefined || share === 0 ? '' : `, about ${durationOf((seconds * (1 - share)) / share)} left`;
  return `${count(keys)} keys, ${count(keys / seconds)} a second${left}`;
}

function durationOf(seconds: number): string {
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

setUpForm(start);
setUpImporting();
button('correct').addEventListener('click', () => {
  start(true);
});
for (const id of ['retry', 'rest']) {
  button(id).addEventListener('click', () => {
    start();
  });
}
button('change').addEventListener('click', () => {
  showStep(0);
});
button('again').addEventListener('click', () => {
  showStep(0);
});
button('salvage-now').addEventListener('click', () => {
  input('salvage').checked = true;
  start();
});
button('cancel').addEventListener('click', () => {
  stop();
  showStep(LAST_STEP);
});

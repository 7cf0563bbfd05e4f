import { type AbortSignalLike, yieldToEventLoop } from '../async.js';
import { processors, startWorker } from '#platform';
import { KeyBackupError } from '../errors.js';
import type { WorkerThread } from './platform.js';
import type { Job, Reply } from './worker-protocol.js';

const MAX_COUNT = 8;

/** Tasks that a worker has at a time, so that the next one waits there. */
const QUEUE = 2;

/** How many workers are started where no number is given: one a processor, at most 8. */
export function workerCount(): number {
  return Math.max(1, Math.min(MAX_COUNT, processors()));
}

/** Milliseconds that a worker may take for a job: many times what the slowest phone needs. */
function limitOf(job: Job): number {
  if (job.direction === 'entries') return 60_000 + 200 * job.records.length;
  const { bytes, ends } = job.direction === 'encrypt' ? job.plaintexts : job.sessionData;
  return 60_000 + 200 * ends.length + bytes.length / 1000;
}

interface Task {
  readonly job: Job;
  /** Milliseconds, see {@link limitOf}. */
  readonly limit: number;
  readonly signal: AbortSignalLike | undefined;
  resolve(reply: Reply): void;
  reject(error: KeyBackupError): void;
}

/** A worker and its tasks, in the order in which it will answer them. */
interface Member {
  readonly thread: WorkerThread;
  readonly tasks: Task[];
  /** Ends the wait for the first task. */
  timer?: ReturnType<typeof setTimeout>;
}

/** Workers, started when there is work for them. Tasks that no worker has yet wait in one queue. */
export class Pool {
  readonly #count: number;
  readonly #url: URL | undefined;
  readonly #members = new Set<Member>();
  #waiting: Task[] = [];
  #disposed = false;

  constructor(count: number, url: URL | undefined) {
    this.#count = count;
    this.#url = url;
  }

  async run<Kind extends Job>(
    job: Kind,
    signal: AbortSignalLike | undefined,
  ): Promise<Extract<Reply, { direction: Kind['direction'] }>> {
    const reply = await new Promise<Reply>((resolve, reject) => {
      this.#waiting.push({ job, limit: limitOf(job), signal, resolve, reject });
      this.#dispatch();
    });
    if (reply.direction === job.direction) return reply as Extract<Reply, { direction: Kind['direction'] }>;
    throw failure(reply.direction === 'failed' ? reply.message : 'it answered something else');
  }

  /** Whether a task would not have to wait for a worker: each takes one while it works on another. */
  get hasTime(): boolean {
    const isFree = ({ tasks }: Member) => tasks.length < QUEUE;
    return this.#members.size < this.#count || [...this.#members].some(isFree);
  }

  dispose(): void {
    this.#disposed = true;
    for (const member of this.#members) this.#bury(member, 'the workers were disposed of');
    this.#dispatch();
  }

  #dispatch(): void {
    for (;;) {
      // Aborted tasks are dropped.
      this.#waiting = this.#waiting.filter((task) => {
        if (this.#disposed) task.reject(failure('the workers were disposed of'));
        else if (task.signal?.aborted) task.reject(aborted(task.signal.reason));
        else return true;
        return false;
      });
      if (this.#waiting.length === 0) return;
      const member = this.#leastBusy();
      if (!member) return;
      const task = this.#waiting.shift();
      if (task) this.#give(member, task);
    }
  }

  #give(member: Member, task: Task): void {
    member.tasks.push(task);
    member.thread.hold(true);
    try {
      member.thread.post(task.job);
    } catch (cause) {
      member.tasks.pop();
      task.reject(failure('the job could not be sent', cause));
    }
    if (member.tasks.length < 2) this.#await(member);
  }

  /** Waits for the answer to a worker's first task, and no longer holds an idle worker. */
  #await(member: Member): void {
    clearTimeout(member.timer);
    const [task] = member.tasks as (Task | undefined)[];
    if (task) member.timer = setTimeout(() => void this.#giveUp(member, task), task.limit);
    else member.thread.hold(false);
  }

  /** A worker that hangs fails its tasks and is replaced. */
  async #giveUp(member: Member, task: Task): Promise<void> {
    // If it was this thread that hung, the answer is here by now.
    await yieldToEventLoop();
    if (member.tasks[0] !== task) return;
    this.#bury(member, `a worker gave no answer for ${Math.round(task.limit / 1000)} s`);
    this.#dispatch();
  }

  /** A worker that can take a task; a new one if needed and allowed. */
  #leastBusy(): Member | undefined {
    let least: Member | undefined;
    for (const member of this.#members)
      if (!least || member.tasks.length < least.tasks.length) least = member;
    if (least?.tasks.length === 0) return least;
    if (this.#members.size < this.#count) return this.#start();
    return least && least.tasks.length < QUEUE ? least : undefined;
  }

  #start(): Member | undefined {
    try {
      const thread = startWorker(
        {
          onReply: (reply) => {
            member.tasks.shift()?.resolve(reply);
            this.#await(member);
            this.#dispatch();
          },
          onDeath: (reason) => {
            this.#bury(member, 'a worker died', reason);
            this.#dispatch();
          },
        },
        this.#url,
      );
      const member: Member = { thread, tasks: [] };
      this.#members.add(member);
      return member;
    } catch (cause) {
      for (const task of this.#waiting.splice(0))
        task.reject(failure('a worker could not be started', cause));
      return undefined;
    }
  }

  /** No task is lost with its worker: each fails with the reason. */
  #bury(member: Member, what: string, cause?: unknown): void {
    if (!this.#members.delete(member)) return;
    clearTimeout(member.timer);
    member.thread.terminate();
    for (const task of member.tasks.splice(0)) task.reject(failure(what, cause));
  }
}

function failure(what: string, cause?: unknown): KeyBackupError {
  return new KeyBackupError('backend-failed', `backend workers: ${what}`, { cause });
}

function aborted(cause: unknown): KeyBackupError {
  return new KeyBackupError('aborted', 'the operation was aborted by its signal', { cause });
}

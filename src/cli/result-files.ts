import { UsageError } from './errors.js';
import { isSameFile } from './command.js';
import { openOutput, type Output } from './output.js';
import type { Report } from '../report/report.js';
import type { Terminal } from './terminal.js';

/** The two files of a command: its result, and the report on it. */
export interface ResultFiles {
  readonly result: Output;
  /** Writes the report and makes it appear; nothing where none was asked for. */
  commitReport(report: Report): Promise<void>;
  /** Leaves no trace of either, except of what has appeared already. */
  discard(): Promise<void>;
}

/**
 * Opens both files before the work, so that it is not done in vain.
 *
 * @param resultPath - As given with `-o`; `undefined` is standard output.
 * @param reportPath - As given with `--report`.
 * @throws {@link UsageError} when both name the same file.
 */
export async function openResultFiles(
  resultPath: string | undefined,
  reportPath: string | undefined,
  terminal: Terminal,
): Promise<ResultFiles> {
  if (isSameFile(resultPath, reportPath)) throw new UsageError('-o and --report name the same file');
  const result = await openOutput(resultPath, terminal);
  let report: Output | undefined;
  try {
    report = reportPath === undefined ? undefined : await openOutput(reportPath, terminal);
  } catch (error) {
    await result.discard();
    throw error;
  }
  return {
    result,
    async commitReport({ json }) {
      await report?.write(json);
      await report?.commit();
      report = undefined;
    },
    async discard() {
      await report?.discard();
      await result.discard();
    },
  };
}

/**
 * Does work that a report is written on: its file is opened before, and gone when the work fails.
 *
 * @param path - As given with `--report`; `undefined` is none.
 */
export async function withReportFile<T>(
  path: string | undefined,
  report: Report,
  terminal: Terminal,
  work: () => Promise<T>,
): Promise<T> {
  const file = path === undefined ? undefined : await openOutput(path, terminal);
  try {
    const outcome = await work();
    await file?.write(report.json);
    await file?.commit();
    return outcome;
  } catch (error) {
    await file?.discard();
    throw error;
  }
}

// Adds up what the test runner wrote for its tiers and prints the line that a build server reads.
import { readdirSync, readFileSync } from 'node:fs';

const folder = new URL('../test-results/', import.meta.url);
let passed = 0;
let failed = 0;
for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
  const results = JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
  passed += results.numPassedTests;
  failed += results.numFailedTests;
  // A file that cannot be loaded has no tests to count, and is a failure all the same.
  for (const { status, assertionResults } of results.testResults) {
    if (status === 'failed' && assertionResults.length === 0) failed++;
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = passed > 0 && failed === 0 ? 0 : 1;

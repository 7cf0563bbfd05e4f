import { test } from 'vitest';
import { killLoop } from '../contracts/kill.js';

test('30 kills under load lose nothing that was acknowledged', () => killLoop(30), 600_000);

import { test } from 'vitest';
import { killLoop } from '../contracts/kill.js';

test('three kills under load lose nothing that was acknowledged', () => killLoop(3), 120_000);

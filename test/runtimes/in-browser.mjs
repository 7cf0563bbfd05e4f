/** The suite for a page: a bundle of this file leaves it under a global name. */
import { faultOf } from '#vector-fault';
import { runSuite } from './suite.mjs';

globalThis.runSuite = (data) => runSuite({ ...data, faultOf });

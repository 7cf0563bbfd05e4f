export { KeyBackupError } from './engine/errors.js';

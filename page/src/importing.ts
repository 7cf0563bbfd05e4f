import { byId } from './dom.js';

/** How people get the file into the app that they use: three steps each. */
const CLIENTS: Readonly<Record<string, readonly [string, string, string]>> = {
  'Element Web or Desktop': [
    'Open Settings, Encryption, Advanced (in older releases: Security & Privacy, Cryptography).',
    'Choose “Import keys”, then the file element-keys.txt.',
    'Enter the passphrase that you chose here. Old messages appear within a minute.',
  ],
  'Element Classic or SchildiChat on Android': [
    'Send the file to the phone, then open Settings, Security & Privacy, Encryption keys management.',
    'Choose “Import E2E room keys”, then the file.',
    'Enter the passphrase that you chose here.',
  ],
  'Element X': [
    'Element X cannot import a file. Sign in with Element Web in a browser, and verify that session.',
    'Import the file there: Settings, Encryption, Advanced, “Import keys”. Keep key storage switched on.',
    'Element Web adds the keys to your current backup, and Element X reads them from there.',
  ],
  nheko: [
    'Open Settings, and go to the section Encryption.',
    'At “Session keys” choose Import, then the file.',
    'Enter the passphrase that you chose here.',
  ],
  Cinny: [
    'Open Settings, Devices, and go to “Local Backup”.',
    'Choose “Import Messages Data”, then the file.',
    'Enter the passphrase that you chose here.',
  ],
  'Another app': [
    'Look in its settings for “import keys” or “import encryption keys”, choose the file, and enter the passphrase.',
    'If it has nothing of the kind, sign in with Element Web, verify that session, and import the file there.',
    'Element Web adds the keys to your current backup, which your app reads.',
  ],
};

/** Offers the apps, and says what to do in the one that is chosen. */
export function setUpImporting(): void {
  const select = byId('client') as HTMLSelectElement;
  select.append(...Object.keys(CLIENTS).map((name) => new Option(name, name)));
  const showSteps = () => {
    byId('steps').replaceChildren(
      ...CLIENTS[select.value].map((step) => {
        const item = document.createElement('li');
        item.textContent = step;
        return item;
      }),
    );
  };
  select.addEventListener('change', showSteps);
  showSteps();
}

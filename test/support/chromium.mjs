/** Where Chromium is, and how it is started: without a screen, and without talking to anybody by itself. */
export const CHROMIUM = '/usr/bin/chromium';

/** For `chromium.launch` of playwright-core. */
export const CHROMIUM_LAUNCH = {
  executablePath: CHROMIUM,
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
};

export function installNode(wanted: string): { bin: string; version: string };

/** The environment for npm and Node.js in another folder than this repository. */
export function freshEnvironment(): NodeJS.ProcessEnv;

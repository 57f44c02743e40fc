export function installNode(wanted: string): { bin: string; version: string };

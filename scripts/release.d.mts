export function changelogProblem(text: string, version: string): string | undefined;

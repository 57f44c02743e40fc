/** The list of processes to choose from. */
import type { ListedProcess } from '../../model/index.js';
import { el, setAttribute } from './dom.js';
import { humanBytes, printable } from './format.js';
import { Table } from './table.js';

export interface ProcessList {
  /** Those that the command was given. */
  readonly chosen: readonly number[];
  readonly processes: readonly ListedProcess[];
}

const REFRESH_MS = 3000;

export class Picker {
  readonly dialog: HTMLDialogElement;
  readonly #search = el('input', {
    type: 'search',
    placeholder: 'Name, command line, user or number',
    spellcheck: false,
    attributes: { 'aria-label': 'Search processes' },
  });
  readonly #problem = el('p', { className: 'problem', hidden: true, attributes: { role: 'alert' } });
  readonly #table: Table<ListedProcess>;
  readonly #onPick: (pid: number) => void;
  #list: ProcessList = { chosen: [], processes: [] };
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(onPick: (pid: number) => void) {
    this.#onPick = onPick;
    this.#table = new Table<ListedProcess>(
      'Processes',
      [
        { title: 'PID', align: 'right', text: ({ pid }) => String(pid), order: ({ pid }) => pid },
        { title: 'Name', text: ({ name }) => printable(name), order: ({ name }) => name },
        { title: 'User', text: ({ user }) => user, order: ({ user }) => user },
        {
          title: 'Resident',
          align: 'right',
          text: ({ residentBytes }) => humanBytes(residentBytes),
          order: ({ residentBytes }) => residentBytes,
        },
        {
          title: 'Swapped',
          align: 'right',
          text: ({ swappedBytes }) => (swappedBytes === 0 ? '' : humanBytes(swappedBytes)),
          order: ({ swappedBytes }) => swappedBytes,
        },
        {
          title: 'Command line, or why it cannot be shown',
          wide: true,
          text: ({ commandLine, hidden, untracked }) =>
            hidden !== undefined
              ? `Cannot be shown: ${hidden}`
              : untracked !== undefined
                ? `No heat: ${untracked}`
                : printable(commandLine),
        },
      ],
      { sortBy: 3, empty: 'No process matches', onPick: (process) => this.#pick(process) },
    );
    const close = el('button', { type: 'button', textContent: 'Close' });
    close.addEventListener('click', () => this.dialog.close());
    this.#search.addEventListener('input', () => this.#draw());
    this.#search.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== 'ArrowDown') return;
      const first = this.#table.element.querySelector<HTMLElement>('tbody tr');
      if (first === null) return;
      event.preventDefault();
      if (event.key === 'Enter') first.click();
      else first.focus();
    });
    this.dialog = el(
      'dialog',
      { className: 'picker', attributes: { 'aria-label': 'Choose a process' } },
      el(
        'div',
        { className: 'card-head' },
        el('h2', { textContent: 'Choose a process' }),
        this.#search,
        close,
      ),
      this.#problem,
      this.#table.element,
    );
    this.dialog.addEventListener('close', () => {
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
  }

  /** Fetches the list. */
  async load(): Promise<ProcessList> {
    const answer = await fetch('processes');
    if (!answer.ok) throw new Error(await answer.text());
    this.#list = (await answer.json()) as ProcessList;
    return this.#list;
  }

  open(problem?: string): void {
    this.#problem.hidden = problem === undefined;
    this.#problem.textContent = problem ?? '';
    this.#search.value = '';
    if (!this.dialog.open) this.dialog.showModal();
    this.#search.focus();
    this.#draw();
    void this.#refresh();
    this.#timer ??= setInterval(() => void this.#refresh(), REFRESH_MS);
  }

  async #refresh(): Promise<void> {
    try {
      await this.load();
      this.#draw();
    } catch {
      this.#problem.hidden = false;
      this.#problem.textContent = 'The server does not answer: pmscan serve has ended';
    }
  }

  #draw(): void {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#list.processes.filter(({ pid, name, commandLine, user }) => {
      const text = `${pid} ${name} ${commandLine} ${user}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    this.#table.set(found);
    setAttribute(this.#table.element, 'aria-busy', this.#list.processes.length === 0);
  }

  #pick({ pid, hidden }: ListedProcess): void {
    if (hidden !== undefined) {
      this.#problem.hidden = false;
      this.#problem.textContent = `Cannot show process ${pid}: ${hidden}`;
      return;
    }
    this.dialog.close();
    this.#onPick(pid);
  }
}

/** The forms: what to do with the selected pages, and the arguments of a scan. Each hands over operations. */
import { CATEGORIES, PAGE_SIZE, PM_SCAN_CHECK_WPASYNC, PM_SCAN_WP_MATCHING } from '../abi/index.js';
import { compileWhere } from '../query/internal.js';
import { ADVICE_NAMES, type Op, type ScanOp } from '../scenario/internal.js';
import { el, setText } from '../web/page/index.js';
import { scan } from './examples.js';
import type { Selection } from './memory.js';
import { ARENA } from './play.js';

const options = (names: readonly string[]) =>
  names.map((name) => el('option', { value: name, textContent: name }));
const select = (label: string, names: readonly string[]) =>
  el('select', { attributes: { 'aria-label': label } }, ...options(names));
const button = (text: string, title: string, onclick: () => void) =>
  el('button', { textContent: text, title, onclick });
const labelled = (text: string, control: HTMLElement) => el('label', null, `${text} `, control);

/** The kinds of memory that can be mapped. */
const KINDS: Readonly<Record<string, Partial<Extract<Op, { op: 'mmap' }>>>> = {
  'anonymous, private': { type: 'anon', sharing: 'private' },
  'anonymous, shared': { type: 'anon', sharing: 'shared' },
  'file, private': { type: 'file', sharing: 'private', file: 'f', offset: 0 },
  'file, shared': { type: 'file', sharing: 'shared', file: 'f', offset: 0 },
  'hugetlb, private': { type: 'hugetlb', sharing: 'private' },
};

/** The only userfaultfd, and what it can do. */
const UFFD = 'u';
const FEATURES = ['wp_async', 'wp_unpopulated', 'wp_hugetlbfs_shmem'] as const;

/**
 * Buttons for what programs do with memory.
 *
 * @param selected which pages they are for
 * @param known the operations so far: a file or userfaultfd is made when it is first needed
 * @param add takes the operations
 */
export function memoryForm(
  selected: () => Selection,
  known: () => readonly Op[],
  add: (...ops: Op[]) => void,
): HTMLElement {
  const kind = select('kind of memory', Object.keys(KINDS));
  const prot = select('protection', ['rw', 'r', 'rwx', 'none']);
  const advice = select('advice', ADVICE_NAMES);
  const has = (name: Op['op']) => known().some(({ op }) => op === name);
  const map = () => {
    const { at, pages } = selected();
    const rest = KINDS[kind.value]!;
    // Large enough for whatever is mapped of it.
    const file: Op[] = rest.type === 'file' && !has('file') ? [{ op: 'file', file: 'f', pages: 1024 }] : [];
    add(...file, { op: 'mmap', at, pages, prot: prot.value, ...rest } as Op);
  };
  const register = () => {
    const open: Op[] = has('uffd') ? [] : [{ op: 'uffd', uffd: UFFD, features: FEATURES }];
    add(...open, { op: 'register', uffd: UFFD, ...selected(), mode: ['wp'] });
  };
  return el(
    'div',
    { className: 'rows' },
    el(
      'div',
      { className: 'row' },
      button('mmap', 'Map these pages, replacing what is there', map),
      kind,
      prot,
      button('mprotect', 'Change how they may be accessed', () =>
        add({ op: 'mprotect', ...selected(), prot: prot.value }),
      ),
      button('munmap', 'Unmap them', () => add({ op: 'munmap', ...selected() })),
    ),
    el(
      'div',
      { className: 'row' },
      button('read', 'Read a byte of each page', () => add({ op: 'read', ...selected(), step: 1 })),
      button('write', 'Write a byte of each page', () => add({ op: 'write', ...selected(), step: 1 })),
      button('madvise', 'Tell the kernel about them', () =>
        add({ op: 'madvise', ...selected(), advice: advice.value as (typeof ADVICE_NAMES)[number] }),
      ),
      advice,
    ),
    el(
      'div',
      { className: 'row' },
      button('register', 'userfaultfd: have their writes tracked (WP_ASYNC)', register),
      button('write-protect', 'userfaultfd: the next write to each is told', () =>
        add({ op: 'writeprotect', uffd: UFFD, ...selected(), wp: true }),
      ),
      button('unregister', 'userfaultfd: track them no longer', () =>
        add({ op: 'unregister', uffd: UFFD, ...selected() }),
      ),
    ),
  );
}

const MASKS = ['inverted', 'mask', 'anyof', 'return'] as const;
type Mask = (typeof MASKS)[number];

const C_NAMES: Readonly<Record<Mask, string>> = {
  inverted: 'category_inverted',
  mask: 'category_mask',
  anyof: 'category_anyof_mask',
  return: 'return_mask',
};

const cName = (name: string) => `PAGE_IS_${name === 'softdirty' ? 'SOFT_DIRTY' : name.toUpperCase()}`;
const cBits = (bits: number) =>
  bits === 0
    ? '0'
    : CATEGORIES.filter(({ bit }) => bits & bit)
        .map(({ name }) => cName(name))
        .join(' | ');

/** The call as a C program makes it. */
export function asC(op: ScanOp): string {
  const flags = [
    ...(Number(op.flags) & PM_SCAN_WP_MATCHING ? ['PM_SCAN_WP_MATCHING'] : []),
    ...(Number(op.flags) & PM_SCAN_CHECK_WPASYNC ? ['PM_SCAN_CHECK_WPASYNC'] : []),
  ];
  const fields = [
    '.size = sizeof(arg)',
    ...(flags.length > 0 ? [`.flags = ${flags.join(' | ')}`] : []),
    `.start = ${op.start}, .end = ${op.end}`,
    ...(op.vec ? [`.vec = (uintptr_t)regions, .vec_len = ${op.vec_len}`] : []),
    ...(Number(op.max_pages) > 0 ? [`.max_pages = ${op.max_pages}`] : []),
    ...MASKS.filter((mask) => Number(op[mask]) !== 0).map(
      (mask) => `.${C_NAMES[mask]} = ${cBits(Number(op[mask]))}`,
    ),
  ];
  return `struct pm_scan_arg arg = {\n${fields.map((field) => `  ${field},\n`).join('')}};\nlong n = ioctl(pagemap, PAGEMAP_SCAN, &arg);`;
}

function maskTable(): { element: HTMLElement; boxes: Record<Mask, HTMLInputElement[]> } {
  const boxes: Record<Mask, HTMLInputElement[]> = { inverted: [], mask: [], anyof: [], return: [] };
  const rows = CATEGORIES.map(({ name }, index) => {
    const cells = MASKS.map((mask) => {
      const box = el('input', { type: 'checkbox', attributes: { 'aria-label': `${name}: ${mask}` } });
      box.checked = mask === 'return' && index < 7;
      boxes[mask].push(box);
      return el('td', null, box);
    });
    return el('tr', null, el('th', { textContent: name, scope: 'row' }), ...cells);
  });
  const head = ['', ...MASKS].map((text) => el('th', { textContent: text, scope: 'col' }));
  const element = el(
    'table',
    { className: 'masks' },
    el('thead', null, el('tr', null, ...head)),
    el('tbody', null, ...rows),
  );
  return { element, boxes };
}

/** All arguments of PAGEMAP_SCAN. */
export class ScanForm {
  readonly element: HTMLElement;
  readonly #masks = maskTable();
  readonly #whole = el('input', { type: 'checkbox', checked: true });
  readonly #protect = el('input', { type: 'checkbox' });
  readonly #check = el('input', { type: 'checkbox' });
  readonly #vecLength = el('input', { type: 'number', min: '0', max: '1024', value: '64' });
  readonly #maxPages = el('input', { type: 'number', min: '0', max: '1024', value: '0' });
  readonly #where = el('input', { type: 'text', placeholder: 'present & !file', spellcheck: false });
  readonly #problem = el('p', { className: 'mistake', attributes: { role: 'status' } });
  readonly #code = el('pre', { className: 'code' });
  readonly #selected: () => Selection;

  constructor(selected: () => Selection, add: (op: Op) => void) {
    this.#selected = selected;
    this.#where.addEventListener('input', () => this.#compile());
    this.element = el(
      'div',
      { className: 'rows' },
      labelled('in words', this.#where),
      this.#problem,
      this.#masks.element,
      el(
        'div',
        { className: 'row' },
        el('label', { className: 'check' }, this.#protect, ' PM_SCAN_WP_MATCHING'),
        el('label', { className: 'check' }, this.#check, ' PM_SCAN_CHECK_WPASYNC'),
      ),
      el(
        'div',
        { className: 'row' },
        labelled('vec_len', this.#vecLength),
        labelled('max_pages', this.#maxPages),
        el('label', { className: 'check' }, this.#whole, ' all pages, not only those selected'),
      ),
      el(
        'div',
        { className: 'row' },
        el('button', { className: 'main', textContent: 'scan', onclick: () => add(this.op()) }),
      ),
      this.#code,
    );
    this.element.addEventListener('input', () => this.show());
    this.show();
  }

  /** The call that the form describes. */
  op(): ScanOp {
    const { at, pages } = this.#selected();
    const hex = (page: number) => `0x${(ARENA + page * PAGE_SIZE).toString(16)}`;
    const bits = (mask: Mask) =>
      this.#masks.boxes[mask].reduce(
        (sum, box, index) => (box.checked ? sum | CATEGORIES[index]!.bit : sum),
        0,
      );
    const vecLength = Math.trunc(this.#vecLength.valueAsNumber) || 0;
    return scan({
      ...(this.#whole.checked ? {} : { start: hex(at), end: hex(at + pages) }),
      flags:
        (this.#protect.checked ? PM_SCAN_WP_MATCHING : 0) | (this.#check.checked ? PM_SCAN_CHECK_WPASYNC : 0),
      vec: vecLength > 0,
      vec_len: Math.max(vecLength, 0),
      max_pages: Math.max(Math.trunc(this.#maxPages.valueAsNumber) || 0, 0),
      ...(Object.fromEntries(MASKS.map((mask) => [mask, bits(mask)])) as Record<Mask, number>),
    });
  }

  show(): void {
    setText(this.#code, asC(this.op()));
  }

  /** Sets the three masks that the words stand for. */
  #compile(): void {
    let masks = { categoryInverted: 0, categoryMask: 0, categoryAnyofMask: 0 };
    setText(this.#problem, '');
    try {
      if (this.#where.value.trim() !== '') masks = compileWhere(this.#where.value);
    } catch (error) {
      setText(this.#problem, (error as Error).message);
      return;
    }
    const set = (mask: Mask, bits: number) =>
      this.#masks.boxes[mask].forEach((box, index) => {
        box.checked = (bits & CATEGORIES[index]!.bit) !== 0;
      });
    set('inverted', masks.categoryInverted);
    set('mask', masks.categoryMask);
    set('anyof', masks.categoryAnyofMask);
  }
}

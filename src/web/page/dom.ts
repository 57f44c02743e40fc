/** Elements in one line each. Text is always text, never markup. */

type Child = Node | string | null | undefined | false;

type Properties<Tag extends keyof HTMLElementTagNameMap> = Omit<
  Partial<HTMLElementTagNameMap[Tag]>,
  'style' | 'dataset' | 'attributes'
> & {
  /** Attributes that are no properties: `aria-…`, `role`, `for`. */
  readonly attributes?: Readonly<Record<string, string | number | boolean | undefined>>;
};

export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Properties<Tag> | null = null,
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (properties !== null) {
    const { attributes, ...rest } = properties;
    Object.assign(element, rest);
    for (const [name, value] of Object.entries(attributes ?? {})) setAttribute(element, name, value);
  }
  append(element, children);
  return element;
}

export function setAttribute(
  element: Element,
  name: string,
  value: string | number | boolean | undefined,
): void {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

export function append(parent: Node, children: readonly Child[]): void {
  for (const child of children) {
    if (child) parent.appendChild(typeof child === 'string' ? document.createTextNode(child) : child);
  }
}

/** Sets text only where it differs, so that a selection in it survives. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether the reader has selected something in there, which must not be replaced under their hands. */
export function hasSelection(element: Element): boolean {
  const selection = getSelection();
  if (selection === null || selection.isCollapsed || selection.rangeCount === 0) return false;
  return selection.getRangeAt(0).intersectsNode(element);
}

/** A number of pixels from the screen for each of the page's. */
export function pixelRatio(): number {
  return Math.min(globalThis.devicePixelRatio || 1, 3);
}

/** Calls `draw` once before the next picture, however often it is asked to. */
export function onFrame(draw: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

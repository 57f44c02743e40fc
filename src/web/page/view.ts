/** One of the page's pictures, behind a tab. */
export interface View {
  readonly id: string;
  readonly title: string;
  readonly element: HTMLElement;
  /** Draws what there is now; does nothing while its element is hidden. */
  draw(): void;
}

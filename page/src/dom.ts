/** The element with this id, which the page has. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no ${id}`);
  return element;
}

export const input = (id: string) => byId(id) as HTMLInputElement;
export const button = (id: string) => byId(id) as HTMLButtonElement;

/** The screens of the page, of which one is shown. */
const SCREENS = ['form', 'work', 'problem', 'results'] as const;

/** Shows one screen, and gives the focus to what it says first. */
export function show(screen: (typeof SCREENS)[number], focus: HTMLElement): void {
  for (const id of SCREENS) byId(id).hidden = id !== screen;
  focus.focus();
}

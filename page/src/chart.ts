const SVG = 'http://www.w3.org/2000/svg';

/** Pixels from one bar to the next: a line of text, and the bar below it. */
const STEP = 44;

/** Per cent: what is there is seen, however little it is. */
const LEAST = 0.5;

/** Horizontal bars, one a reason, as wide as the page; the table below says the same in words. */
export function chart(reasons: readonly (readonly [string, number])[], total: number): SVGElement {
  const svg = create('svg', { width: '100%', height: String(reasons.length * STEP), role: 'img' });
  const title = create('title', {});
  title.textContent = 'Keys by reason';
  svg.append(title);
  reasons.forEach(([reason, count], i) => {
    const share = count === 0 ? 0 : Math.max((100 * count) / total, LEAST);
    const label = create('text', { x: '0', y: String(i * STEP + 16) });
    label.textContent = `${reason}: ${count}`;
    svg.append(label, bar('bar track', i, 100), bar(reason === 'read' ? 'bar read' : 'bar failed', i, share));
  });
  return svg;
}

function bar(kind: string, i: number, share: number): SVGElement {
  return create('rect', {
    class: kind,
    x: '0',
    y: String(i * STEP + 24),
    width: `${share}%`,
    height: '12',
  });
}

function create(name: string, attributes: Readonly<Record<string, string>>): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// Evaluated in the page: what people see of it, measured. An expression; its value is a function.
//
// Contrast is that of the Web Content Accessibility Guidelines 2.2, 1.4.3 (text) and 1.4.11 (what is no text).
() => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });

  /** Red, green, blue (0 to 255) and alpha (0 to 1) of a colour as style sheets write it. */
  function channels(colour) {
    if (!CSS.supports('color', colour)) throw new Error(`no colour: ${colour}`);
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  }

  function luminance([red, green, blue]) {
    const [r, g, b] = [red, green, blue].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function contrast(a, b) {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light + 0.05) / (dark + 0.05);
  }

  /** A colour that is seen through, over another one. */
  const over = ([r, g, b, alpha], below) => [
    ...[r, g, b].map((value, i) => value * alpha + below[i] * (1 - alpha)),
    1,
  ];

  /** The colour of an element's ground, whatever lies behind it included. */
  function ground(element) {
    if (!element) throw new Error('nothing opaque lies behind it');
    const own = channels(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(element.parentElement));
  }

  const isShown = (element) =>
    element.getClientRects().length > 0 && element.checkVisibility({ visibilityProperty: true });
  const nameOf = (element) => `${element.localName}${element.id ? `#${element.id}` : ''}`;

  function textCheck(element, text, style, behind) {
    if (style.opacity !== '1') throw new Error(`opacity is not reckoned with: ${nameOf(element)}`);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 56 / 3 && Number(style.fontWeight) >= 700);
    const colour = channels(element.namespaceURI.endsWith('svg') ? style.fill : style.color);
    return {
      what: `${nameOf(element)}: ${text.trim().replace(/\s+/g, ' ').slice(0, 80)}`,
      ratio: contrast(over(colour, behind), behind),
      need: isLarge ? 3 : 4.5,
    };
  }

  /** Every text there is, and what stands in the fields. */
  function texts() {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const text = walker.currentNode.data;
      if (text.trim() === '' || ['script', 'style', 'title'].includes(element.localName) || !isShown(element))
        continue;
      found.push(textCheck(element, text, getComputedStyle(element), ground(element)));
    }
    for (const element of document.querySelectorAll('input:not([type=radio], [type=checkbox])')) {
      if (!isShown(element)) continue;
      found.push(textCheck(element, 'what is typed', getComputedStyle(element), ground(element)));
      if (element.type !== 'file') continue;
      const button = getComputedStyle(element, '::file-selector-button');
      const behind = over(channels(button.backgroundColor), ground(element));
      found.push(textCheck(element, 'the button', button, behind));
    }
    return found;
  }

  /** What is no text and has to be seen: where a control ends, how far it is, how high a bar is. */
  function shapes() {
    const found = [];
    const add = (element, part, colours, behind) => {
      const ratio = Math.max(...colours.map((colour) => contrast(over(channels(colour), behind), behind)));
      found.push({ what: `${nameOf(element)}: ${part}`, ratio, need: 3 });
    };
    for (const element of document.querySelectorAll(
      'input:not([type=radio], [type=checkbox]), button, .button',
    )) {
      if (!isShown(element)) continue;
      const { borderTopColor, backgroundColor } = getComputedStyle(element);
      add(element, 'its border', [borderTopColor, backgroundColor], ground(element.parentElement));
    }
    for (const element of document.querySelectorAll('progress, input[type=radio], input[type=checkbox]')) {
      if (isShown(element))
        add(element, 'its accent', [getComputedStyle(element).accentColor], ground(element.parentElement));
    }
    for (const element of document.querySelectorAll('rect.read, rect.failed')) {
      add(element, 'the bar', [getComputedStyle(element).fill], ground(element.parentElement));
      const track = channels(getComputedStyle(document.querySelector('rect.track')).fill);
      add(element, 'the bar on its track', [getComputedStyle(element).fill], track);
    }
    const focused = document.activeElement;
    if (focused?.matches(':focus-visible')) {
      add(focused, 'the focus', [getComputedStyle(focused).outlineColor], ground(focused.parentElement));
    }
    return found;
  }

  /** What is wider than the page, or than the part of it that scrolls. */
  function overflowing() {
    const width = document.documentElement.clientWidth;
    const wide = [document.documentElement, ...document.querySelectorAll('.scroll')]
      .filter((element) => isShown(element) && element.scrollWidth > element.clientWidth)
      .map((element) => `${nameOf(element)} scrolls`);
    const out = Array.from(document.body.querySelectorAll('*'))
      .filter((element) => isShown(element) && element.getBoundingClientRect().right > width + 0.5)
      .map(nameOf);
    return [...wide, ...out];
  }

  return { checks: [...texts(), ...shapes()], overflowing: overflowing() };
};

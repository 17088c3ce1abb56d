// The colours of the present theme, for what is drawn on a canvas. They are defined in style/base.css.
const LINES = 8;

export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// Eight colours that people with any kind of colour vision tell apart; then the same ones dashed, and dotted.
export function lineStyle(index) {
  return { colour: colour(`line-${(index % LINES) + 1}`), dash: [null, [8, 4], [2, 3]][Math.floor(index / LINES) % 3] };
}

export const swatchClass = (index) => `swatch line-${(index % LINES) + 1} ${["", "dashed", "dotted"][Math.floor(index / LINES) % 3]}`;

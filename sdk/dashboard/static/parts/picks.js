// Versions or runs that are picked from a table, to compare them or to draw them together.
import { useState } from "preact/hooks";
import { html } from "../html.js";
import { link } from "../router.js";
import { plural } from "../format.js";

export function usePicks() {
  const [names, setNames] = useState([]);
  const toggle = (name) =>
    setNames((before) => (before.includes(name) ? before.filter((each) => each !== name) : [...before, name]));
  return { names, toggle, clear: () => setNames([]) };
}

export function PickCell({ picks, name }) {
  return html`
    <td class="pick">
      <input type="checkbox" aria-label=${`Pick ${name}`} checked=${picks.names.includes(name)} onChange=${() => picks.toggle(name)} />
    </td>
  `;
}

// `names` of runs begin with `run:`; these can be drawn, but neither compared nor tried.
export function PickBar({ picks, serves = false, areRuns = false }) {
  const { names } = picks;
  if (!names.length) return null;
  return html`
    <div class="picked" role="region" aria-label="Picked">
      <span>${plural(names.length, areRuns ? "run" : "version")} picked</span>
      <a class="button" href=${link("charts", null, { of: names })}>Draw</a>
      ${!areRuns && names.length > 1 && html`<a class="button" href=${link("compare", null, { ref: names })}>Compare</a>`}
      ${serves && html`<a class="button" href=${link("try", null, { ref: names })}>Try</a>`}
      <button type="button" class="quiet" onClick=${picks.clear}>Clear</button>
    </div>
  `;
}

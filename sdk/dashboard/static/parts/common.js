// Small parts that most pages have.
import { html } from "../html.js";
import { formatAge, formatTime } from "../format.js";
import { link } from "../router.js";

// Text of a user. Its direction stays its own, so that no letter of it turns what stands beside it around.
export function Text({ value, as = "bdi", ...more }) {
  return html`<${as} dir="auto" ...${more}>${value}<//>`;
}

export function RefLink({ to, row = false, children }) {
  return html`<a class="ref" href=${link("version", to)} data-row=${row ? "" : null}>${children ?? to}</a>`;
}

export function RunLink({ uid, row = false }) {
  return html`<a class="ref" href=${link("run", uid)} data-row=${row ? "" : null}>${uid}</a>`;
}

export function When({ at }) {
  return at ? html`<time datetime=${at} title=${formatTime(at)}>${formatAge(at)}</time>` : "–";
}

export function Status({ of }) {
  return html`<span class=${`status ${of}`}>${of}</span>`;
}

export function Chip({ children, kind = "" }) {
  return html`<span class=${`chip ${kind}`}><bdi>${children}</bdi></span>`;
}

export function ErrorBox({ error }) {
  return html`<p class="box bad" role="alert"><${Text} value=${error.message} /></p>`;
}

// What an answer of `useApi` looks like until it is there, or if it never is.
export function Pending({ state, what }) {
  if (state.error) return html`<${ErrorBox} error=${state.error} />`;
  return html`<p class="faint" role="status">Reading ${what} …</p>`;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

// What could not be read, beside what could.
export function Damaged({ texts }) {
  if (!texts?.length) return null;
  return html`
    <div class="box bad" role="alert">
      <p>Some rows cannot be read; <code>registry verify</code> says what can be done.</p>
      <ul>${texts.map((text) => html`<li key=${text}><${Text} value=${text} /></li>`)}</ul>
    </div>
  `;
}

// A list of names and values.
export function Facts({ items }) {
  const shown = items.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return html`
    <dl class="facts">
      ${shown.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
  `;
}

export function Section({ title, children, tools = null, id = null }) {
  return html`
    <section aria-label=${title} id=${id}>
      <div class="section-head"><h2>${title}</h2>${tools}</div>
      ${children}
    </section>
  `;
}

export function Progress({ of }) {
  const percent = Math.round(100 * of);
  return html`
    <span class="progress" role="progressbar" aria-valuenow=${percent} aria-valuemin="0" aria-valuemax="100" aria-label="Progress">
      <span style=${{ width: `${percent}%` }}></span>
    </span>
  `;
}

// Parts of tables: headers that sort, and the pages of a long list.
import { html } from "../html.js";
import { formatCount } from "../format.js";

// A header that sorts by `name`; `sort` is the present order, `onSort` gets the next one.
export function SortHeader({ name, sort, onSort, children, className = "" }) {
  const isActive = sort.by === name;
  const ascends = name === "name" ? !sort.reverse : sort.reverse; // names ascend, all else descends
  const mark = isActive ? (ascends ? " ↑" : " ↓") : "";
  return html`
    <th scope="col" class=${className} aria-sort=${isActive ? (ascends ? "ascending" : "descending") : null}>
      <button type="button" class="sort" onClick=${() => onSort({ by: name, reverse: isActive && !sort.reverse })}>
        ${children}<span aria-hidden="true">${mark}</span>
      </button>
    </th>
  `;
}

export function Pager({ total, offset, limit, onMove, what }) {
  const last = Math.min(total, offset + limit);
  return html`
    <div class="pager">
      <span role="status">${total ? `${formatCount(offset + 1)}–${formatCount(last)} of ${formatCount(total)} ${what}` : `no ${what}`}</span>
      ${total > limit &&
      html`
        <button type="button" disabled=${offset === 0} onClick=${() => onMove(Math.max(0, offset - limit))}>Previous</button>
        <button type="button" disabled=${last >= total} onClick=${() => onMove(offset + limit)}>Next</button>
      `}
    </div>
  `;
}

// A wide table scrolls inside itself, and can be scrolled with the keyboard.
export function Scroll({ children, label }) {
  return html`<div class="scroll" role="group" aria-label=${label} tabindex="0">${children}</div>`;
}

// The legend of a chart: a row a line, with its value under the pointer, its extremes, and what is no number.
import { formatCount, formatNumber } from "../format.js";
import { html } from "../html.js";
import { swatchClass } from "../palette.js";
import { summary, valueAt } from "../series.js";

export function Legend({ lines, hidden, cursor, onToggle, isBrief }) {
  return html`
    <div class="scroll">
      <table class="legend">
        <thead class=${isBrief ? "hidden" : ""}>
          <tr>
            <th scope="col">Line</th>
            <th scope="col" class="number">${cursor === null ? "Last" : `At ${formatCount(cursor)}`}</th>
            <th scope="col" class="number">Least</th>
            <th scope="col" class="number">Greatest</th>
            <th scope="col">No number</th>
          </tr>
        </thead>
        <tbody>
          ${lines.map((line, index) => html`<${Row} key=${line.id} ...${{ line, index, cursor, onToggle }} isHidden=${hidden.includes(line.id)} />`)}
        </tbody>
      </table>
    </div>
  `;
}

function Row({ line, index, cursor, onToggle, isHidden }) {
  const { last, min, max } = summary(line.whole ?? line);
  const value = cursor === null ? last : valueAt(line, cursor);
  return html`
    <tr class=${isHidden ? "off" : ""}>
      <th scope="row">
        <button type="button" class="toggle" aria-pressed=${!isHidden} aria-label=${`Draw ${line.label}`} onClick=${() => onToggle(line.id)}>
          <span class=${swatchClass(index)}></span>
        </button>
        ${line.href ? html`<a href=${line.href}><bdi>${line.label}</bdi></a>` : html`<bdi>${line.label}</bdi>`}
      </th>
      <td class="number">${formatNumber(value)}</td>
      <td class="number" title="Least"><span class="faint tiny">min </span>${formatNumber(min)}</td>
      <td class="number" title="Greatest"><span class="faint tiny">max </span>${formatNumber(max)}</td>
      <td>${strange(line)}</td>
    </tr>
  `;
}

function strange({ whole, values, isWhole }) {
  const all = whole?.values ?? values;
  const count = (test) => all.filter(test).length;
  const parts = [
    [count(Number.isNaN), "NaN"],
    [count((value) => value === Infinity), "∞"],
    [count((value) => value === -Infinity), "−∞"],
  ].filter(([number]) => number);
  const more = whole?.isWhole === false || isWhole === false ? "≥ " : "";
  return parts.map(([number, name]) => html`<span class="chip bad" key=${name}>${more}${number} ${name}</span>`);
}

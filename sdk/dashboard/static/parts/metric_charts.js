// A small chart for each metric of a run or of a version, the losses and scores first.
import { useState } from "preact/hooks";
import { path } from "../api.js";
import { formatCount, formatNumber } from "../format.js";
import { html } from "../html.js";
import { byInterest } from "../metric_order.js";
import { link } from "../router.js";
import { useApi } from "../use_api.js";
import { Empty, Pending } from "./common.js";
import { HistoryChart } from "./history_chart.js";
import { Scroll } from "./table.js";

const FIRST = 4;
const MORE = 20;
const MOST_ROWS = 200;

export function MetricCharts({ of, live = false }) {
  const state = useApi(path("/api/summaries", { of }), { live });
  const [most, setMost] = useState(FIRST);
  if (!state.data) return html`<${Pending} state=${state} what="the metrics" />`;
  const metrics = [...state.data.metrics].sort((one, other) => byInterest(one.key, other.key));
  if (!metrics.length) return html`<${Empty}>Nothing was logged ${live ? "yet" : ""}.<//>`;
  const shown = metrics.slice(0, most);
  const more = Math.min(MORE, metrics.length - shown.length);
  return html`
    <div class="charts">
      ${shown.map(({ key }) => {
        const series = [{ id: `${of} ${key}`, label: key, of, metric: key, href: link("charts", null, { of, metric: key }) }];
        return html`<${HistoryChart} key=${key} series=${series} label=${key} live=${live} height=${200} isBrief />`;
      })}
    </div>
    ${more > 0 && html`<button type="button" onClick=${() => setMost(most + MORE)}>${more} more of ${formatCount(metrics.length)} charts</button>`}
    ${more <= 0 && metrics.length > FIRST && html`<button type="button" onClick=${() => setMost(FIRST)}>Fewer charts</button>`}
    <${SummaryTable} metrics=${metrics} />
  `;
}

// The rows are made once they are asked for, and not all of thousands: a run that trains makes them anew every two seconds.
function SummaryTable({ metrics }) {
  const [isOpen, setOpen] = useState(false);
  return html`
    <details onToggle=${(event) => setOpen(event.target.open)}>
      <summary>All metrics in numbers</summary>
      ${isOpen && html`<${SummaryRows} metrics=${metrics} />`}
    </details>
  `;
}

function SummaryRows({ metrics }) {
  const [text, setText] = useState("");
  const named = metrics.filter(({ key }) => key.includes(text.trim()));
  const shown = named.slice(0, MOST_ROWS);
  return html`
    ${metrics.length > MOST_ROWS &&
    html`
      <p>
        <input aria-label="Part of a metric's name" placeholder="part of a name" value=${text} onInput=${(event) => setText(event.target.value)} />
        <span class="faint" role="status"> ${formatCount(shown.length)} of ${formatCount(metrics.length)} metrics</span>
      </p>
    `}
    <${Scroll} label="Metrics in numbers">
      <table>
        <thead>
          <tr>
            <th scope="col">Metric</th>
            ${["Points", "First", "Last", "Least", "at step", "Greatest", "at step", "Mean", "NaN"].map((name, index) => html`<th scope="col" class="number" key=${index}>${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${shown.map(
            (metric) => html`
              <tr key=${metric.key}>
                <th scope="row">${metric.key}</th>
                <td class="number">${formatCount(metric.count)}</td>
                <td class="number">${formatNumber(metric.first)}</td>
                <td class="number">${formatNumber(metric.last)}</td>
                <td class="number">${formatNumber(metric.min)}</td>
                <td class="number">${formatCount(metric.min_step)}</td>
                <td class="number">${formatNumber(metric.max)}</td>
                <td class="number">${formatCount(metric.max_step)}</td>
                <td class="number">${formatNumber(metric.mean)}</td>
                <td class="number">${metric.nan_count || "–"}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
  `;
}

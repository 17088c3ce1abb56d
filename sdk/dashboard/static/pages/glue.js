// The table of a GLUE benchmark: a row a method, a column a task, the mean over the seeds and its spread.
import { path } from "../api.js";
import { html } from "../html.js";
import { number } from "../format.js";
import { Empty, Pending } from "../parts/common.js";
import { Scroll } from "../parts/table.js";
import { link, setQuery } from "../router.js";
import { useApi } from "../use_api.js";

export function GluePage({ route }) {
  const state = useApi(path("/api/glue", { name: route.query.get("name") }), { live: true });
  if (!state.data) return html`<h1>GLUE</h1><${Pending} state=${state} what="the benchmark" />`;
  const { benchmarks, name, tasks, rows } = state.data;
  if (!benchmarks.length) return html`<h1>GLUE</h1><${Empty}>There is no benchmark yet. <code>registry glue</code> trains one.<//>`;
  const isSample = benchmarks.find((benchmark) => benchmark.name === name)?.sample;
  return html`
    <div class="title">
      <h1>GLUE</h1>
      <label>
        Benchmark
        <select value=${name} onChange=${(event) => setQuery({ name: event.target.value })}>
          ${benchmarks.map((benchmark) => html`<option key=${benchmark.name} value=${benchmark.name}>${benchmark.name}</option>`)}
        </select>
      </label>
      <div class="actions"><a class="button quiet" href=${link("runs", null, { where: `origin.kind = cell and origin.name = '${name}'` })}>Its runs</a></div>
    </div>
    ${isSample && html`<p class="box warn">These scores are of the synthetic sample; they say nothing about GLUE.</p>`}
    ${rows.length ? html`<${Table} tasks=${tasks} rows=${rows} />` : html`<${Empty}>Nothing of it is trained yet.<//>`}
  `;
}

function Table({ tasks, rows }) {
  const columns = [...tasks.map((task) => rows.map((row) => number(row.scores[task]))), rows.map((row) => number(row.average))];
  const best = columns.map((values) => Math.max(...values.filter(Number.isFinite)));
  const isBest = (column, value) => rows.length > 1 && value === best[column];
  return html`
    <${Scroll} label="Scores">
      <table class="glue">
        <thead>
          <tr>
            <th scope="col">Method</th>
            <th scope="col" class="number">Seeds</th>
            ${tasks.map((task) => html`<th scope="col" class="number" key=${task}>${task}</th>`)}
            <th scope="col" class="number">Average</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            (row) => html`
              <tr key=${row.method}>
                <th scope="row">${row.method} <span class="faint">${row.base}</span></th>
                <td class="number">${row.seeds}</td>
                ${tasks.map((task, column) => html`<td class="number" key=${task}><${Score} value=${number(row.scores[task])} spread=${row.spread?.[task]} isBest=${isBest(column, number(row.scores[task]))} /></td>`)}
                <td class="number"><${Score} value=${number(row.average)} isBest=${isBest(tasks.length, number(row.average))} /></td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
    <p class="faint">The mean over the seeds, times 100, and the standard deviation where there are several; the best of each column is bold.</p>
  `;
}

function Score({ value, spread, isBest }) {
  if (value === null || value === undefined) return "–";
  const text = Number.isFinite(value) ? value.toFixed(1) : String(value);
  return html`${isBest ? html`<b>${text}</b>` : text}${spread !== null && spread !== undefined && html` <span class="faint spread">±${number(spread).toFixed(1)}</span>`}`;
}

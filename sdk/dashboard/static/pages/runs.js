// The trainings: those that run now with their loss, speed and time left, and all others.
import { path } from "../api.js";
import { formatNumber, formatSeconds } from "../format.js";
import { html } from "../html.js";
import { Damaged, Empty, Pending, RefLink, RunLink, Status, Text, When } from "../parts/common.js";
import { PickBar, PickCell, usePicks } from "../parts/picks.js";
import { QueryBox } from "../parts/query_box.js";
import { LOSS, RunProgress, isLive, runSpeed } from "../parts/run_state.js";
import { Pager, Scroll } from "../parts/table.js";
import { setQuery } from "../router.js";
import { useApi } from "../use_api.js";

const LIMIT = 50;
const EXAMPLES = [
  { query: "status = running", help: "that train now" },
  { query: "status in (failed, interrupted) and started > 7d ago", help: "that did not get through" },
  { query: "adapter = sst2 and best(eval/accuracy) > 0.8", help: "by adapter and score" },
  { query: "origin.kind = trial", help: "trials of registry tune" },
];

export function RunsPage({ route }) {
  const where = route.query.get("where") ?? "";
  const offset = Number(route.query.get("offset")) || 0;
  const list = useApi(path("/api/runs", { where, limit: LIMIT, offset }), { live: true });
  const picks = usePicks();
  const isMistake = list.error?.type === "QueryError";
  const page = list.data;
  return html`
    <div class="title"><h1>Runs</h1><span class="faint">updated while you look</span></div>
    <${QueryBox} value=${where} subject="runs" examples=${EXAMPLES} error=${isMistake ? list.error : null} onSearch=${(text) => setQuery({ where: text, offset: null })} />
    ${list.error && !isMistake && html`<${Pending} state=${list} what="runs" />`}
    ${!page && !list.error && html`<${Pending} state=${list} what="runs" />`}
    ${page && !isMistake && html`
      <${Damaged} texts=${page.damaged} />
      ${page.total === 0
        ? html`<${Empty}>${where ? "No run matches this query." : "There is no run yet."}<//>`
        : html`
            <${RunTable} runs=${page.items} picks=${picks} />
            <${Pager} total=${page.total} offset=${page.offset} limit=${LIMIT} what="runs" onMove=${(to) => setQuery({ offset: to || null })} />
          `}
    `}
    <${PickBar} picks=${picks} areRuns />
  `;
}

function RunTable({ runs, picks }) {
  return html`
    <${Scroll} label="Runs">
      <table>
        <thead>
          <tr>
            <th class="pick"><span class="hidden">Pick</span></th>
            <th scope="col">Run</th>
            <th scope="col">Status</th>
            <th scope="col">Adapter</th>
            <th scope="col">Method</th>
            <th scope="col">Progress</th>
            <th scope="col" class="number">Loss</th>
            <th scope="col" class="number">Speed</th>
            <th scope="col">Version</th>
            <th scope="col">Started</th>
            <th scope="col" class="number">Took</th>
          </tr>
        </thead>
        <tbody>
          ${runs.map(
            (run) => html`
              <tr key=${run.uid} class=${isLive(run) ? "live" : ""}>
                <${PickCell} picks=${picks} name=${`run:${run.uid}`} />
                <th scope="row"><${RunLink} uid=${run.uid} row /></th>
                <td><${Status} of=${run.status} /></td>
                <td>${run.adapter}${run.origin && html` <${Text} class="faint" as="span" value=${run.origin} />`}</td>
                <td>${run.method}</td>
                <td class="progress-cell"><${RunProgress} run=${run} /></td>
                <td class="number">${formatNumber(run.last?.[LOSS])}</td>
                <td class="number">${runSpeed(run)}</td>
                <td>${run.version ? html`<${RefLink} to=${run.version} />` : run.error ? html`<${Text} class="note-start" as="span" title=${run.error} value=${run.error} />` : "–"}</td>
                <td><${When} at=${run.started_at} /></td>
                <td class="number">${formatSeconds(run.seconds)}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    <//>
  `;
}

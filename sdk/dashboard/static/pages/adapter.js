// One adapter: its versions, its aliases, and how a metric moved from version to version.
import { useState } from "preact/hooks";
import { path } from "../api.js";
import { html } from "../html.js";
import { AliasTable } from "../parts/aliases.js";
import { ChartView } from "../parts/chart_view.js";
import { Damaged, Empty, Pending, Section } from "../parts/common.js";
import { Legend } from "../parts/legend.js";
import { PickBar, usePicks } from "../parts/picks.js";
import { Pager } from "../parts/table.js";
import { link, setQuery } from "../router.js";
import { number } from "../format.js";
import { useApi } from "../use_api.js";
import { VersionTable } from "./versions.js";

const LIMIT = 50;

export function AdapterPage({ route, about }) {
  const name = route.item;
  const sort = { by: route.query.get("sort") ?? "created", reverse: route.query.has("reverse") };
  const offset = Number(route.query.get("offset")) || 0;
  const list = useApi(path("/api/versions", { name, sort: sort.by, reverse: sort.reverse, limit: LIMIT, offset }));
  const adapter = useApi(`/api/adapters/${encodeURIComponent(name)}`);
  const picks = usePicks();
  if (!list.data) return html`<h1><bdi>${name}</bdi></h1><${Pending} state=${list} what=${name} />`;
  const reload = () => {
    list.reload();
    adapter.reload();
  };
  return html`
    <p class="path"><a href=${link("versions")}>Versions</a></p>
    <div class="title">
      <h1>${name}</h1>
      <div class="actions"><a class="button quiet" href=${link("log", null, { ref: name })}>Log</a></div>
    </div>
    <${Damaged} texts=${list.data.damaged} />
    ${list.data.total === 0 && html`<${Empty}>There is no such adapter.<//>`}
    ${list.data.total > 0 &&
    html`
      <${VersionTable} versions=${list.data.items} sort=${sort} onSort=${({ by, reverse }) => setQuery({ sort: by, reverse, offset: null })} picks=${picks} />
      <${Pager} total=${list.data.total} offset=${offset} limit=${LIMIT} what="versions" onMove=${(to) => setQuery({ offset: to || null })} />
      <div class="columns">
        <${Section} title="Aliases">
          ${adapter.data
            ? html`<${AliasTable} name=${name} aliases=${adapter.data.aliases} numbers=${adapter.data.numbers} canChange=${about.can_change} onDone=${reload} />`
            : html`<${Pending} state=${adapter} what="the aliases" />`}
        <//>
        <${Section} title="From version to version"><${Across} name=${name} chosen=${route.query.get("metric")} /><//>
      </div>
    `}
    <${PickBar} picks=${picks} serves=${about.serves} />
  `;
}

function Across({ name, chosen }) {
  const state = useApi(path(`/api/across/${encodeURIComponent(name)}`, { metric: chosen }));
  const [cursor, setCursor] = useState(null);
  const [view, setView] = useState(null);
  if (!state.data) return state.error?.status === 404 ? html`<${Empty}>No version has a metric.<//>` : html`<${Pending} state=${state} what="the scores" />`;
  const { metric, metrics, items } = state.data;
  const steps = items.map((item) => item.number);
  const lines = [{ id: metric, label: metric, steps, values: items.map((item) => number(item.value)), isWhole: true }];
  return html`
    <label class="above">
      Metric
      <select value=${metric} onChange=${(event) => setQuery({ metric: event.target.value })}>
        ${metrics.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}
      </select>
    </label>
    <${ChartView} lines=${lines} view=${view} onView=${setView} onCursor=${setCursor} height=${200} label=${`${metric} of the versions of ${name}`} xLabel="version" />
    <${Legend} lines=${lines} hidden=${[]} cursor=${cursor} onToggle=${() => {}} isBrief />
  `;
}

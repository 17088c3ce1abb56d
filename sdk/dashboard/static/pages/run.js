// One training: how it goes, its charts, and what it was started with. It is live while it runs.
import { useEffect, useState } from "preact/hooks";
import { formatCount, formatNumber, formatSeconds, formatTime, formatValue } from "../format.js";
import { html } from "../html.js";
import { Empty, Pending, RefLink, Section, Status, Text } from "../parts/common.js";
import { MetricCharts } from "../parts/metric_charts.js";
import { LOSS, RunProgress, isLive, runSpeed } from "../parts/run_state.js";
import { Scroll } from "../parts/table.js";
import { link } from "../router.js";
import { useApi } from "../use_api.js";

export function RunPage({ route }) {
  const [isOver, setOver] = useState(false);
  const state = useApi(`/api/runs/${encodeURIComponent(route.item)}`, { live: !isOver });
  const run = state.data;
  useEffect(() => setOver(Boolean(run) && !isLive(run)), [run?.status]);
  if (!run) return html`<h1>Run <bdi>${route.item}</bdi></h1><${Pending} state=${state} what="the run" />`;
  const of = `run:${run.uid}`;
  return html`
    <p class="path"><a href=${link("runs")}>Runs</a></p>
    <div class="title">
      <h1>Run ${run.uid}</h1>
      <${Status} of=${run.status} />
      <div class="actions"><a class="button" href=${link("charts", null, { of })}>Draw</a></div>
    </div>
    <p class="lead">${run.adapter} · ${run.task} · ${run.method} on ${run.base} · seed ${run.seed}${run.origin && html` · <${Text} value=${run.origin} />`}</p>
    ${run.error && html`<p class=${`box ${run.status === "pruned" ? "" : "bad"}`}><${Text} value=${run.error} /></p>`}
    <div class="tiles">
      <${Tile} name="Progress" isWide>${run.progress ? html`<${RunProgress} run=${run} />` : steps(run)}<//>
      <${Tile} name="Loss">${formatNumber(run.last?.[LOSS])}<//>
      <${Tile} name="Speed">${runSpeed(run)}<//>
      <${Tile} name=${isLive(run) ? "Runs for" : "Took"}>${formatSeconds(run.seconds)}<//>
      <${Tile} name="Started">${formatTime(run.started_at)}<//>
      <${Tile} name="Version">${run.version ? html`<${RefLink} to=${run.version} />` : isLive(run) ? "not yet" : "none"}<//>
    </div>
    <${Section} title="Metrics"><${MetricCharts} of=${of} live=${isLive(run)} /><//>
    <div class="columns">
      <${Section} title="Settings"><${Settings} settings=${run.settings} /><//>
      <div>
        <${Section} title="Data"><${Names} items=${run.data} what="the data" /><//>
        <${Section} title="Environment"><${Names} items=${run.environment} what="the environment" /><//>
      </div>
    </div>
  `;
}

function steps({ metrics }) {
  if (!metrics.length) return "–";
  const last = Math.max(...metrics.map((metric) => metric.last_step));
  return `${formatCount(last)} ${last === 1 ? "step" : "steps"}`;
}

export function Tile({ name, children, isWide = false }) {
  return html`<div class=${`tile ${isWide ? "wide" : ""}`}><span class="faint">${name}</span><span class="value">${children}</span></div>`;
}

function Settings({ settings }) {
  const [isWhole, setWhole] = useState(false);
  const isSet = ({ requested, value, default: usual }) => requested || (usual !== undefined && JSON.stringify(value) !== JSON.stringify(usual));
  const shown = isWhole ? settings : settings.filter(isSet);
  const rest = settings.length - settings.filter(isSet).length;
  return html`
    ${shown.length
      ? html`
          <${Scroll} label="Settings">
            <table class="narrow">
              <thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">Default</th></tr></thead>
              <tbody>
                ${shown.map(
                  (setting) => html`
                    <tr key=${setting.name} class=${isSet(setting) && isWhole ? "strong" : ""}>
                      <th scope="row">${setting.name}</th>
                      <td><code><${Text} value=${formatValue(setting.value)} /></code></td>
                      <td class="faint"><code>${formatValue(setting.default)}</code></td>
                    </tr>
                  `,
                )}
              </tbody>
            </table>
          <//>
        `
      : html`<${Empty}>All settings are the defaults.<//>`}
    ${rest > 0 && html`<label class="switch"><input type="checkbox" checked=${isWhole} onChange=${() => setWhole(!isWhole)} /> also the defaults (${rest})</label>`}
  `;
}

function Names({ items, what }) {
  if (!items.length) return html`<${Empty}>Nothing is known of ${what}.<//>`;
  return html`
    <${Scroll} label=${what}>
      <table class="narrow">
        <tbody>
          ${items.map(({ name, value }) => html`<tr key=${name}><th scope="row">${name}</th><td class="breaks"><${Text} value=${formatValue(value)} /></td></tr>`)}
        </tbody>
      </table>
    <//>
  `;
}
